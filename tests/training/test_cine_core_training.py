"""Training of the core network of cines: its clips, motion made of still images, a short run."""

from pathlib import Path

import numpy as np
import pytest
import torch

import kfine
from kfine.errors import InputError, ModelError
from kfine.intensity import AIR, HEADROOM
from kfine.models.checkpoint import load_model, save_model
from kfine.networks.core import CoreNet
from kfine.training.config import CineCoreTrainingConfig
from kfine.training.data.cine_patches import CineCoreDataset, Motion
from kfine.training.data.core_patches import load_volumes
from kfine.training.loop import Devices, train
from kfine.training.tasks.cine_core import CineCoreTask
from tests.conftest import phantom
from tests.training.cines import cine

CPU = Devices("cpu", workers=0)
SIZE = {"widths": [8, 16], "blocks": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for number in range(2):
        path = root / "cines" / f"patient-{number}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        kfine.write(cine(number, side=48), path)
    (root / "stills").mkdir()
    still = kfine.Image(phantom((1, 2, 48, 48), seed=3), np.diag([1.5, 1.5, 8.0, 1.0]))
    kfine.write(still, root / "stills" / "a.nii")
    torch.manual_seed(0)
    save_model(root / "core", CoreNet(**SIZE), {"method": "core", "network": SIZE})
    return root


def config(folder, **optimiser):
    return CineCoreTrainingConfig.model_validate(
        {
            "initial": str(folder / "core"),
            "data": {
                "sources": [{"folder": "cines", "stored": True}, {"folder": "stills", "stored": True}],
                "validation": ["cines/patient-1*"],
                "patch": 24,
                "frames": 4,
                "every": [1, 2],
                "photographic": 0.3,
                "photographic_scale": 2,
            },
            "network": SIZE,
            "optimiser": {
                "steps": 4,
                "batch": 2,
                "warmup": 1,
                "kind": "muon",
                "schedule": "constant",
                **optimiser,
            },
            "report": {"checkpoint": 2, "validate_every": 2, "picture": 4, "planes": 1, "matrix": 32},
        }
    )


def test_a_clip_depends_on_its_number_alone(folder):
    data = config(folder).data
    volumes, _ = load_volumes(folder, data)
    assert [group[0].frames for group in volumes.groups] == [8, 1]
    one, other = (CineCoreDataset(volumes, data, batch=2, seed=3, length=100) for _ in range(2))
    clips = [one[g] for g in range(16)]
    for g in (7, 3, 15):
        assert all(
            torch.equal(torch.as_tensor(a), torch.as_tensor(b))
            for a, b in zip(other[g], clips[g], strict=True)
        )
    for clip in clips:
        assert clip.blend.shape == clip.apart.shape == clip.target.shape == (4, 24, 24)
        assert all(torch.as_tensor(part).isfinite().all() for part in clip)
        assert (clip.apart[clip.part == 0] == 0).all()
        assert clip.error > 0
    assert {clip.cyclic for clip in clips} == {True, False}
    assert all(a.cyclic == b.cyclic for a, b in zip(clips[::2], clips[1::2], strict=True))


def test_made_motion_is_periodic_smooth_and_does_not_fold():
    rng = np.random.default_rng(0)
    plane = torch.from_numpy(phantom((1, 1, 40, 40))[0, 0]).float()
    for _ in range(5):
        motion = Motion.random((40, 40), rng)
        frames = motion.moved(plane, np.array([0.0, 0.25, 1.0]))
        assert torch.allclose(frames[0], frames[2], atol=1e-2 * float(plane.max()))
        assert not torch.allclose(frames[0], frames[1], atol=1e-2 * float(plane.max()))
        rows = motion.field.sum(0)[0].diff(dim=0)
        assert rows.abs().max() < 1.5
    still = motion._replace(field=torch.zeros_like(motion.field))
    assert torch.allclose(still.moved(plane, np.array([0.3]))[0], plane, atol=1e-3 * float(plane.max()))


def test_a_run_goes_on_as_if_nothing_had_happened(folder, tmp_path):
    whole = train(CineCoreTask(config(folder), folder), out=tmp_path / "whole", devices=CPU)
    train(CineCoreTask(config(folder, steps=2), folder), out=tmp_path / "parts", devices=CPU)
    parts = train(CineCoreTask(config(folder), folder), out=tmp_path / "parts", resume=True, devices=CPU)
    one, other = (kfine.load_model(path) for path in (whole, parts))
    assert one.method == "cine-core"
    for name, weight in one.network.state_dict().items():
        assert torch.equal(weight, other.network.state_dict()[name]), name
    header = (Path(tmp_path) / "whole" / "log.csv").read_text().splitlines()[0]
    for name in ("psnr_measured_x2", "psnr_between_x4", "changes_x2"):
        assert name in header
    follower = config(folder, steps=1, learning_rate=1e-12).model_copy(update={"initial": str(whole)})
    second = train(CineCoreTask(follower, folder), out=tmp_path / "second", devices=CPU)
    theirs = one.network.state_dict()
    assert all(
        torch.allclose(weight, theirs[name], atol=1e-3)
        for name, weight in load_model(second).network.state_dict().items()
    )


def photographs(folder, **data):
    settings = config(folder, steps=1)
    changed = settings.data.model_dump() | {"photographic": 1.0, **data}
    return settings.model_copy(update={"data": type(settings.data).model_validate(changed)})


@pytest.mark.parametrize("same_matrix", [False, True])
def test_nothing_in_photographs_is_brighter_than_white(folder, same_matrix):
    data = photographs(folder, same_matrix=same_matrix, every=[1]).data
    volumes, _ = load_volumes(folder, data)
    dataset = CineCoreDataset(volumes, data, batch=2, seed=3, length=100)
    for number in range(8):
        clip = dataset[number]
        assert clip.blend.shape == clip.target.shape == (4, 24, 24)
        assert clip.target.min() >= AIR
        assert clip.target.max() <= (1.0 if same_matrix else 2 * HEADROOM - 1)  # a crop of k-space overshoots
        assert (clip.facts[:2] == 1).all() if same_matrix else (clip.facts[:2] <= 0.5).all()


def test_photographs_at_their_own_matrix_are_for_a_method_of_their_own(folder, tmp_path):
    settings = photographs(folder, same_matrix=True, every=[1])
    model = load_model(train(CineCoreTask(settings, folder), out=tmp_path / "run", devices=CPU))
    assert model.method == "cine-photographic"
    for wrong in ({"photographic": 0.5, "every": [1]}, {"every": [1, 2]}):
        with pytest.raises(ValueError, match="expected photographic = 1 and every"):
            photographs(folder, same_matrix=True, **wrong)


def test_what_cannot_be_started_from_or_validated_on_is_refused(folder):
    for initial, message in (("core", "widths and blocks"), ("vdm", "method cine-core"), ("none", "none")):
        wrong = config(folder).model_copy(update={"initial": initial})
        with pytest.raises(ModelError, match=message):
            CineCoreTask(wrong, folder).open(resumed=False, reports=False)
    settings = config(folder)
    stills = settings.model_copy(
        update={"data": settings.data.model_copy(update={"validation": ("stills/a*",)})}
    )
    with pytest.raises(InputError, match="expected a cine of at least 4 frames"):
        CineCoreTask(stills, folder).open(resumed=False, reports=True)
