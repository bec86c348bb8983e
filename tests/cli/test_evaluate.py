"""kfine evaluate: its table, its JSON, its figure, and the grids it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Picture

import kfine
from kfine.evaluation.comparison import compare


@pytest.fixture
def restored(low, tmp_path):
    paths = []
    for method in ("zero-filling", "bicubic"):
        paths.append(tmp_path / f"{method}.nii.gz")
        kfine.write(kfine.restore(kfine.read(low), matrix=(32, 24), method=method).mean, paths[-1])
    return paths


def test_the_table_names_every_image_and_states_its_range(command, high, restored):
    done = command("evaluate", high, *restored)
    assert done.code == 0
    for part in ("zero-filling", "bicubic", "PSNR dB", "SSIM", "NRMSE", "whole", "inside", "Data range"):
        assert part in done.out
    score = compare(kfine.read(high), kfine.read(restored[0])).whole
    assert f"{score.psnr:.2f}" in done.out
    assert done.err == ""


def test_json_holds_every_figure(command, high, restored, tmp_path):
    done = command("evaluate", high, *restored, "--json", tmp_path / "s.json")
    assert done.code == 0
    assert done.err == f"{tmp_path / 's.json'}\n"
    scores = json.loads((tmp_path / "s.json").read_text())
    expected = {
        path.name.split(".")[0]: compare(kfine.read(high), kfine.read(path)).as_dict() for path in restored
    }
    assert scores == json.loads(json.dumps(expected))
    printed = command("evaluate", high, *restored, "--json", "-")
    assert json.loads(printed.out) == scores


def test_an_exact_copy_is_strict_json_too(command, high):
    scores = json.loads(command("evaluate", high, high, "--json", "-").out)
    assert scores["high"]["mean"]["whole"]["psnr"] == "inf"


@pytest.mark.parametrize("frames", [1, 2])
def test_a_mask_says_where(command, high, restored, tmp_path, frames):
    truth = kfine.read(high)
    inside = np.zeros(truth.voxels.shape, np.float32)
    inside[:, :, 10:20, 8:16] = 1
    kfine.write(replace(truth, voxels=inside), tmp_path / "m.nii.gz")
    reference, image = high, restored[0]
    if frames > 1:  # one frame of mask serves a cine
        for name, path in (("cine", high), ("other", restored[0])):
            still = kfine.read(path)
            kfine.write(replace(still, voxels=still.voxels.repeat(2, 0)), tmp_path / f"{name}.nii.gz")
        reference, image = tmp_path / "cine.nii.gz", tmp_path / "other.nii.gz"
    done = command("evaluate", reference, image, "--mask", tmp_path / "m.nii.gz", "--json", "-")
    assert done.code == 0
    (scores,) = json.loads(done.out).values()
    expected = compare(truth, kfine.read(restored[0]), mask=inside[0] != 0).as_dict()
    assert scores["mask"] == "given"
    assert scores["mean"]["inside"]["psnr"] == pytest.approx(expected["mean"]["inside"]["psnr"])


def test_the_figure_is_drawn(command, high, restored, tmp_path):
    assert command("evaluate", high, *restored, "--figure", tmp_path / "e.png").code == 0
    assert (tmp_path / "e.png").read_bytes().startswith(b"\x89PNG")


def test_equal_names_are_told_apart(command, high, restored, tmp_path):
    (tmp_path / "sub").mkdir()
    twin = tmp_path / "sub" / restored[0].name
    twin.write_bytes(restored[0].read_bytes())
    done = command("evaluate", high, restored[0], twin, restored[0], "--json", "-")
    assert set(json.loads(done.out)) == {str(restored[0]), str(twin)}


def test_markup_in_names_is_printed(command, high, restored, tmp_path):
    odd = tmp_path / "[red]a[b].nii.gz"
    odd.write_bytes(restored[0].read_bytes())
    assert "[red]a[b]" in command("evaluate", high, odd).out


def test_grids_that_differ_are_refused(command, high, low, restored, tmp_path, files):
    moved = kfine.read(restored[0])
    affine = moved.affine.copy()
    affine[0, 3] += 1
    kfine.write(replace(moved, affine=affine), tmp_path / "moved.nii.gz")
    before = files()
    for other in (low, tmp_path / "moved.nii.gz"):
        done = command("evaluate", high, other, "--json", tmp_path / "s.json", "--figure", tmp_path / "s.png")
        assert (done.code, "same grid" in done.err) == (4, True)
        done = command("evaluate", high, restored[0], "--mask", other)
        assert (done.code, "same grid" in done.err) == (4, True)
    assert files() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--json", "scores.txt"], ".json"),
        (["--figure", "f.json"], ".png"),
        (["--json", "taken.json"], "exists already"),
        (["--json", "no/folder/s.json"], "folder does not exist"),
        (["--mask"], "--mask"),
    ],
)
def test_wrong_calls_write_nothing(command, high, restored, tmp_path, monkeypatch, files, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.json").write_text("precious")
    before = files()
    done = command("evaluate", high, restored[0], *arguments)
    assert (done.code, says in done.err) == (2, True)
    assert files() == before


def test_an_input_is_never_replaced(command, high, restored, tmp_path, files):
    image = tmp_path / "image.json"  # the first bytes name the format, not the suffix
    image.write_bytes(restored[0].read_bytes())
    before = files()
    done = command("evaluate", high, image, "--json", image, "--overwrite")
    assert (done.code, "is an input" in done.err) == (2, True)
    assert files() == before


def test_a_failure_at_the_second_file_leaves_none(command, high, restored, tmp_path, monkeypatch, files):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kfine.viz.figure.save", fail)
    before = files()
    done = command(
        "evaluate", high, restored[0], "--json", tmp_path / "s.json", "--figure", tmp_path / "s.png"
    )
    assert (done.code, "No space left" in done.err) == (6, True)
    assert files() == before


@pytest.fixture
def cines(high, tmp_path):
    """A cine of three frames, a frozen copy, and one of the same frames at other times."""
    still = kfine.read(high)
    moving = np.concatenate([still.voxels, 0.9 * still.voxels, 1.1 * still.voxels])
    cine = replace(still, voxels=moving, frame_times=(0.0, 0.1, 0.2), period=0.3)
    frozen = replace(cine, voxels=moving[:1].repeat(3, 0))
    slow = replace(cine, frame_times=(0.0, 0.2, 0.4), period=0.6)
    paths = [tmp_path / f"{name}.nii.gz" for name in ("cine", "frozen", "slow")]
    for image, path in zip((cine, frozen, slow), paths, strict=True):
        kfine.write(image, path)
    return paths


def test_every_frame_of_a_cine_counts(command, cines):
    done = command("evaluate", cines[0], cines[1])
    assert (done.code, "temporal" in done.out, "all frames" in done.out) == (0, True, True)
    (scores,) = json.loads(command("evaluate", cines[0], cines[1], "--json", "-").out).values()
    by_frame = {row["frame"]: row["whole"]["nrmse"] for row in scores["slices"] if row["slice"] == 1}
    assert by_frame[0] == pytest.approx(0, abs=1e-6)
    assert by_frame[1] == pytest.approx(1 / 9, rel=1e-3)
    assert by_frame[2] == pytest.approx(1 / 11, rel=1e-3)
    assert scores["mean"]["whole"]["nrmse"] == pytest.approx((1 / 9 + 1 / 11) / 3, rel=1e-3)
    assert scores["temporal_difference_error"] > 0.01


def test_the_figure_of_a_cine_also_moves(command, cines, tmp_path, files):
    done = command("evaluate", cines[0], cines[1], "--figure", tmp_path / "e.png")
    assert (done.code, "e.gif" in done.err) == (0, True)
    with Picture.open(tmp_path / "e.gif") as moving:
        assert moving.n_frames == 3
    before = files()
    (tmp_path / "e.png").unlink()
    done = command("evaluate", cines[0], cines[1], "--figure", tmp_path / "e.png")
    assert (done.code, "e.gif: exists" in done.err) == (2, True)
    assert files() == {name: data for name, data in before.items() if name != "e.png"}


def test_a_still_image_has_no_temporal_error(command, high, restored):
    (scores,) = json.loads(command("evaluate", high, restored[0], "--json", "-").out).values()
    assert scores["temporal_difference_error"] is None
    assert "emporal" not in command("evaluate", high, restored[0]).out


def test_frames_at_other_times_are_refused(command, cines):
    done = command("evaluate", cines[0], cines[2])
    assert (done.code, "frame times" in done.err) == (4, True)


def test_some_slices(command, high, restored, tmp_path):
    """Of the whole images, and against a part as restore --slices writes it: the same figures."""
    whole = kfine.read(restored[0])
    part = tmp_path / "part.nii.gz"
    kfine.write(whole.take_slices(1, 3), part)
    truth = kfine.read(high)
    expected = compare(truth.take_slices(1, 3), whole.take_slices(1, 3)).as_dict()
    for image in (restored[0], part):
        done = command("evaluate", high, image, "--slices", "1:3", "--json", "-")
        assert list(json.loads(done.out).values()) == [json.loads(json.dumps(expected))]
    assert command("evaluate", high, part, "--json", "-").code == 4
    assert command("evaluate", high, part, "--slices", "3:1").code == 2
