"""Pieces of stills: from where, how degraded, and told what was measured."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from kfine.errors import InputError
from kfine.intensity import Scaling
from kfine.io import read
from kfine.training.items import flat
from kfine.training.local_projection import low_pass
from kfine.training.still_config import StillDataConfig
from kfine.training.still_data import find_stills
from kfine.training.still_items import StillDataset
from kfine.training.supply import supply_of
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


def test_folders_count_alike_and_items_depend_on_their_number_alone(folders):
    forward, backward = items(folders), items(folders)
    a = [forward[g] for g in range(12)]
    b = [backward[g] for g in reversed(range(12))][::-1]
    assert all(
        torch.equal(x, y)
        for first, second in zip(a, b, strict=True)
        for x, y in zip(first[:5], second[:5], strict=True)
    )
    assert [[forward.orders[0][turn].path.parent.name for turn in range(6)]] == [["brains"] * 6]
    assert {forward.orders[1][turn].path.parent.name for turn in range(6)} == {"hearts"}


def test_of_each_folder_a_middle_slice_is_validated_at_every_scale(folders):
    config = regression_config(report=REPORT | {"slices": 2})
    cases = supply_of(folders, config, reports=True).validation.cases
    assert [case.suffix for case in cases] == ["_x2", "_x3"] * 2
    brain = read(folders[0] / "sub-2_T1w.nii.gz")
    scaling = Scaling.of(brain.voxels)
    middle = scaling.to_model(torch.from_numpy(np.array(brain.voxels[0, 1, 4:28, 2:26])))
    torch.testing.assert_close(cases[0].x[0], middle)
    assert [case.scan.crop.low for case in cases[:2]] == [(12, 12), (8, 8)]


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
