"""What cine networks learn from: an item depends on its number alone, and holds what its scan measured."""

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from torch.utils.data import default_collate

from kfine.errors import InputError
from kfine.image import Image, Source
from kfine.operators.kspace import KSpaceCrop
from kfine.training.data.cines import CineDataset, find_cines, is_of, read_frames, split_cines
from kfine.training.data.degradation import drawn_degradation, leaving_two, measured_matrix
from kfine.training.data.patches import drawn_cut, flat, frames_of, true_matrix
from kfine.training.ldm_config import CineDataConfig
from kfine.training.losses.ldm import projected_on_scan
from tests.training.cines import DATA, SIDE, beating, write_cines

CLEAN = {"noise": 0.0, "stored": 1.0, "patch": SIDE}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_cines(tmp_path_factory.mktemp("cines"))


def dataset(folders, *, seed=1, batch=2, **changes):
    config = CineDataConfig.model_validate(DATA | changes)
    return CineDataset(find_cines(folders, config), config, batch=batch, seed=seed, length=1000)


def equal(a, b):
    return all(torch.equal(torch.as_tensor(x), torch.as_tensor(y)) for x, y in zip(a, b, strict=True))


def test_items_depend_on_their_number_alone(folders):
    forward, backward = dataset(folders, photographic=0.3), dataset(folders, photographic=0.3)
    a = [forward[g] for g in range(12)]
    b = [backward[g] for g in reversed(range(12))][::-1]
    assert all(equal(x, y) for x, y in zip(a, b, strict=True))
    other = dataset(folders, seed=2, photographic=0.3)
    assert not any(a[g].x.shape == other[g].x.shape and equal(a[g], other[g]) for g in range(12))


def test_a_batch_holds_items_of_one_kind(folders):
    items = dataset(folders, batch=3)
    kinds = [items.kind_of(g) for g in range(60)]
    assert all(len(set(kinds[first : first + 3])) == 1 for first in range(0, 60, 3))
    assert set(kinds) == {"clip", "circle", "still"}
    for g in (kinds.index(kind) for kind in ("clip", "circle", "still")):
        item = items[g]
        images, frames = (4, 1) if kinds[g] == "still" else (1, 4)
        assert item.x.shape == (images, frames, 16, 16)
        assert item.guide.shape == (images, 5, frames, 16, 16)
        assert item.kept.shape == (images, frames)
        assert (item.parts.shape, item.exact.shape) == ((images, 2), (images,))
        assert bool(item.cyclic) == (kinds[g] == "circle")


@pytest.mark.parametrize("circles", [0.0, 1.0])
def test_kept_frames_have_the_kspace_that_was_measured(folders, circles):
    items = dataset(folders, stills=0.0, circles=circles, every=[1, 2], **CLEAN)
    coarse = 0
    for g in range(12):
        item = items[g]
        x, seen, kept = item.x[0], item.guide[0, 0], item.kept[0]
        crop = KSpaceCrop(
            (SIDE, SIDE), measured_matrix((SIDE, SIDE), tuple(item.parts[0].tolist())), real=True
        )
        assert kept.any()
        torch.testing.assert_close(seen[kept], crop.pseudo_inverse(crop(x[kept])), atol=1e-4, rtol=0)
        coarse += not torch.allclose(seen[kept], x[kept], atol=1e-2)
    assert coarse > 6


def test_the_guide_says_how_far_a_time_is_from_what_was_measured(folders):
    items = dataset(folders, stills=0.0, circles=1.0, every=[2], **CLEAN)
    for g in range(6):
        item = items[g]
        t, kept = item.guide[0, 2], item.kept[0]
        assert (t[kept] == 0).all()
        assert (t[~kept] == 0.5).all()
        assert kept.tolist() in ([True, False] * 2, [False, True] * 2)
        torch.testing.assert_close(item.guide[0, 0][kept], item.guide[0, 1][kept])


def test_the_guide_says_what_part_of_kspace_was_measured(folders):
    for stills in (0.0, 1.0):
        items = dataset(folders, stills=stills, scale=(1.5, 3.0), photographic=0.3)
        for g in range(4):
            item = items[g]
            assert torch.equal(item.guide[:, 3:, 0, 0, 0], item.parts.float())
            assert torch.equal(item.guide[:, 3:], item.guide[:, 3:, :1, :1, :1].expand_as(item.guide[:, 3:]))


def test_stills_are_scanned_in_space_alone(folders):
    items = dataset(folders, stills=1.0, **CLEAN)
    item = items[0]
    assert item.kept.all()
    assert (item.guide[:, 2] == 0).all()
    assert torch.equal(item.guide[:, 0], item.guide[:, 1])
    assert len(torch.unique(item.parts[:, 0])) > 1


def test_noise_and_photographs_are_not_exact(folders):
    noisy = dataset(folders, **(CLEAN | {"noise": 0.2}))
    exact = torch.cat([noisy[g].exact for g in range(40)])
    assert 0.5 < exact.float().mean() < 0.95
    photographs = dataset(folders, photographic=1.0, photographic_scale=2, stills=1.0, **CLEAN)
    errors = np.zeros(5)
    for g in range(6):
        item = photographs[g]
        assert not item.exact.any()
        assert (item.parts == 0.5).all()
        seen = item.guide[:, 0]
        moved = [seen, *(seen.roll(n, axis) for n in (-2, 2) for axis in (-1, -2))]
        errors += [float((x - item.x).abs().mean()) for x in moved]
    # Blurred and noisy, but in their place: moved by two pixels they fit worse.
    assert errors[0] == errors.min()


def test_scans_leave_two_frames_and_stay_in_their_ranges():
    config = CineDataConfig(every=(1, 2, 4, 8), scale=(1.0, 4.0), photographic=0.2, time_only=0.3)
    rng = np.random.default_rng(0)

    def drawn(frames):
        every = leaving_two(config.every, frames=frames)
        return drawn_degradation(config, rng, every=every, time_only=config.time_only)

    scans = [drawn(10) for _ in range(300)]
    assert {scan.every for scan in scans} == {1, 2, 4}
    assert all(0.2499 <= part <= 1 for scan in scans for part in scan.parts)
    assert any(scan.parts == (1.0, 1.0) and scan.every > 1 for scan in scans)
    assert {scan.photographic for scan in scans} == {0, 4}
    assert {drawn(1).every for _ in range(20)} == {1}


def test_a_scanner_that_interpolated_is_seen_through():
    source = Source(acquired_matrix=(24, 32))
    image = Image(beating(side=32), np.diag([8.0, 1.5, 1.5, 1.0]), source=source)
    assert true_matrix(image, 1.0) == (24, 24)
    assert true_matrix(image, 0.5) == (12, 12)
    assert true_matrix(Image(beating(side=32), np.diag([8.0, 1.0, 2.0, 1.0])), 1.0) == (16, 32)


def test_a_piece_of_a_small_frame_lies_in_air():
    planes = beating(frames=2, slices=1, side=12)[:, 0] / 500 - 1
    cut = drawn_cut(planes, 16, np.random.default_rng(0))
    x = torch.from_numpy(planes)
    piece = cut.inside(cut.around(x))
    assert piece.shape == (2, 16, 16)
    assert torch.equal(piece[:, 2:14, 2:14], x)
    assert (piece[:, :2] == -1).all()
    guided = cut.guide(cut.around(torch.stack([x, x, torch.full_like(x, 0.25)])), images=2)
    assert (guided[2] == 0.25).all()


def test_subjects_are_never_split(folders):
    training, held = split_cines(folders, ["patient-2", "heart-3"])
    assert [path.name for path in held] == ["patient-2.nii.gz", "heart-3-IM-0001.png"]
    assert len(training) == 5
    assert (is_of("SC-N-11-IM.png", "SC-N-1"), is_of("SC-N-1-IM.png", "SC-N-1")) == (False, True)
    with pytest.raises(InputError, match="patient-9"):
        split_cines(folders, ["patient-9"])


def test_a_picture_in_a_patients_folder_is_that_patients(tmp_path):
    from PIL import Image as Picture

    for patient in ("SC-N-11", "SC-N-1"):
        (tmp_path / patient).mkdir()
        Picture.new("L", (8, 8)).save(tmp_path / patient / "IM-0001.png")
    training, held = split_cines([tmp_path], ["SC-N-11"])
    assert [path.parent.name for path in (*training, *held)] == ["SC-N-1", "SC-N-11"]


def test_an_empty_picture_is_named(tmp_path):
    from PIL import Image as Picture

    Picture.new("L", (8, 8)).save(tmp_path / "black.png")
    with pytest.raises(InputError, match=r"black\.png: constant image"):
        read_frames(tmp_path / "black.png")


def test_what_cannot_be_trained_on_is_refused_in_one_line(folders, tmp_path):
    everybody = DATA | {"validation": ["patient", "heart"]}
    with pytest.raises(InputError, match="none is left"):
        find_cines(folders, CineDataConfig.model_validate(everybody))
    with pytest.raises(InputError, match="found none"):
        find_cines([tmp_path], CineDataConfig())
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(InputError, match=r"broken\.png: expected a PNG"):
        read_frames(tmp_path / "broken.png")


def test_pictures_keep_their_grey_values(tmp_path):
    grey = np.arange(30 * 20).reshape(30, 20)
    for name, values in (
        ("8.png", (grey % 256).astype(np.uint8)),
        ("16.png", (100 * grey).astype(np.uint16)),
    ):
        Picture.fromarray(values).save(tmp_path / name)
        np.testing.assert_array_equal(read_frames(tmp_path / name).voxels[0, 0], values)


def test_cines_that_are_too_short_are_single_frames(folders):
    items = dataset(folders[:1], frames=9)
    assert {items.kind_of(g) for g in range(20)} == {"still"}


def test_frames_taken_out_of_clips_are_held_to_the_scan_as_within_them(folders):
    items = dataset(folders, every=[2])
    clips = [g for g in range(40) if items.kind_of(g) == "clip"][:2]
    item = flat(default_collate([items[g] for g in clips]))
    chosen = torch.tensor([6, 1, 2])
    frames = frames_of(item, chosen)
    estimate = torch.randn(item.x.shape, generator=torch.Generator().manual_seed(0))
    within = projected_on_scan(estimate, item).flatten(0, 1)[chosen]
    torch.testing.assert_close(
        projected_on_scan(estimate.flatten(0, 1)[chosen][:, None], frames)[:, 0], within
    )
    assert torch.equal(frames.x[:, 0], item.x.flatten(0, 1)[chosen])
    assert set(frames.kept.flatten().tolist()) == {False, True}
