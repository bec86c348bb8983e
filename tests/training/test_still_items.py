"""Pieces of stills: from where, how degraded, and told what was measured."""

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from torch.utils.data import default_collate

from kfine.errors import InputError
from kfine.image import Image, Source
from kfine.intensity import Scaling
from kfine.io import read
from kfine.training.data.degradation import Degradation
from kfine.training.data.patches import flat, seen_at
from kfine.training.data.stills import StillDataset, find_stills
from kfine.training.losses.ldm import low_pass
from kfine.training.stage_config import StillDataConfig
from kfine.training.tasks.stage import supply_of
from tests.conftest import phantom
from tests.training.stills import DATA, REPORT, regression_config, write_stills


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_stills(tmp_path_factory.mktemp("data"))


def items(folders, **changes):
    config = StillDataConfig.model_validate(DATA | changes)
    return StillDataset(find_stills(folders, config), config, seed=1, length=40)


def test_subjects_are_never_split(folders):
    stills = find_stills(folders, StillDataConfig.model_validate(DATA))
    names = [
        [{refs[0].path.name for refs in root} for root in part]
        for part in (stills.training, stills.validation)
    ]
    assert names[0] == [
        {"sub-0_T1w.nii.gz", "sub-1_T1w.nii.gz"},
        {"patient-0.nii.gz", *(f"heart-{n}-IM-0001.png" for n in range(3))},
    ]
    assert names[1] == [{"sub-2_T1w.nii.gz"}, {"heart-3-IM-0001.png"}]
    # Every frame of every slice of the cine is a still.
    cine = next(refs for refs in stills.training[1] if refs[0].path.name.startswith("patient"))
    assert len({(ref.frame, ref.slice) for ref in cine}) == 4
    with pytest.raises(InputError, match="sub-9"):
        find_stills(folders, StillDataConfig(validation=("sub-9",)))


def test_folders_count_alike_and_items_depend_on_their_number_alone(folders, monkeypatch):
    forward, backward = items(folders), items(folders)
    a = [forward[g] for g in range(12)]
    b = [backward[g] for g in reversed(range(12))][::-1]
    assert all(
        torch.equal(x, y)
        for first, second in zip(a, b, strict=True)
        for x, y in zip(first[:5], second[:5], strict=True)
    )
    read_from = []
    get = forward.volumes.get
    monkeypatch.setattr(
        forward.volumes, "get", lambda path: (read_from.append(path.parent.name), get(path))[1]
    )
    for g in range(6):
        forward[g]
    assert read_from == ["brains", "hearts"] * 3


def test_of_each_folder_a_middle_slice_is_validated_at_every_scale(folders):
    config = regression_config(report=REPORT | {"slices": 2})
    cases = supply_of(folders, config, reports=True).validation.cases
    assert [case.suffix for case in cases] == ["_x2", "_x3"] * 2
    brain = read(folders[0] / "sub-2_T1w.nii.gz")
    scaling = Scaling.of(brain.voxels)
    middle = scaling.to_model(torch.from_numpy(np.array(brain.voxels[0, 1, 4:28, 2:26])))
    torch.testing.assert_close(cases[0].x[0], middle)
    assert [case.scan.crop.low for case in cases[:2]] == [(12, 12), (8, 8)]


def test_a_folder_named_twice_is_validated_once_and_as_many_slices_as_asked_for(folders):
    config = regression_config(report=REPORT | {"slices": 3})
    once, twice = (
        supply_of(named, config, reports=True).validation.cases for named in (folders, [*folders, folders[1]])
    )
    assert len(once) == len(twice) == 3 * 2
    assert all(torch.equal(a.x, b.x) for a, b in zip(once, twice, strict=True))


def test_folders_within_one_another_leave_out_the_same_subjects(folders):
    within = [folders[0].parent, *folders]
    for roots in (within, within[::-1]):
        stills = find_stills(roots, StillDataConfig(validation=("sub-2", "heart-3")))
        learned = {refs[0].path.name for folder in stills.training for refs in folder}
        assert not any(name.startswith(("sub-2", "heart-3")) for name in learned)


def test_a_folder_without_tissue_does_not_stop_the_others(folders, tmp_path):
    (tmp_path / "air").mkdir()
    grey = np.zeros((24, 24), np.uint8)
    grey[:2, :2] = 200
    Picture.fromarray(grey).save(tmp_path / "air" / "air-1-IM.png")
    stills = find_stills([*folders, tmp_path / "air"], StillDataConfig(validation=("sub-2",)))
    assert len(stills.training) == 2


def test_a_batch_is_one_item_of_as_many_images(folders):
    data = items(folders)
    batch = flat(default_collate([data[g] for g in range(5)]))
    assert batch.x.shape == (5, 1, 16, 16)
    assert batch.guide.shape == (5, 3, 1, 16, 16)
    assert batch.kept.shape == (5, 1)
    assert batch.cyclic is False


def test_the_guide_holds_the_scan_and_the_parts_that_it_measured(folders):
    data = items(folders, noise=0.0, patch=64)  # whole planes, air around
    for g in range(8):
        item = data[g]
        parts = item.parts[0]
        for axis in (0, 1):
            assert torch.equal(item.guide[0, 1 + axis], torch.full((1, 64, 64), float(parts[axis])))
            assert 1 / 4.5 - 1e-6 <= parts[axis] <= 1
        assert item.exact.all()
        # What the scan lacks is of high frequency: almost nothing is left of it below half of what was measured.
        lacking = item.x - item.guide[:, 0]
        assert low_pass(lacking, parts[None] / 2).square().mean() < 0.1 * lacking.square().mean()


def test_some_scans_are_noisy_and_say_so(folders):
    data = items(folders, noise=0.3)
    exact = [bool(data[g].exact.all()) for g in range(40)]
    assert 2 <= exact.count(False) <= 20


def test_ranges_are_of_what_was_seen(tmp_path):
    """Stored at 1 mm, measured at 1 x 2 mm: brought to half of what was measured, 4 mm both ways."""
    image = Image(phantom((1, 1, 40, 40)), source=Source(acquired_matrix=(40, 20)))
    assert seen_at(image, StillDataConfig(stored=0.5, resample=(0.5, 1.0))) == [(40, 40), (10, 10), (20, 20)]
    assert seen_at(image, StillDataConfig(stored=1.0)) == [(40, 40)]
    assert seen_at(image, StillDataConfig(stored=0.0, resample=(0.5, 0.5))) == [(10, 10), (10, 10)]


@pytest.mark.parametrize(("photographic", "low"), [(0, (35, 17)), (4, (19, 13))])
def test_a_degradation_says_what_whole_lines_are_measured(photographic, low):
    how = Degradation(1, (0.45, 0.31), photographic=photographic).of((77, 55))
    assert how.parts == (low[0] / 77, low[1] / 55)
    assert how.of((77, 55)) == how
