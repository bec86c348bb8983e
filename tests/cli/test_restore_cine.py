"""kfine restore of cines: frames, timing in the file, resuming, pictures that move, and refusals."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

import kfine
from kfine.errors import InputError
from kfine.image import Image
from kfine.restoration.outputs import RestorationFiles
from tests.conftest import beating


@pytest.fixture
def cine_file(tmp_path):
    kfine.write(beating(6, slices=2, matrix=(16, 14)), tmp_path / "cine.nii.gz")
    return tmp_path / "cine.nii.gz"


def test_frames_and_timing_reach_the_file(command, cine_file, tiny_cine_folder, tmp_path):
    out = tmp_path / "out.nii.gz"
    options = ["--scale", 2, "--frames-scale", 2, "--model", tiny_cine_folder, "--seed", 3]
    done = command("restore", cine_file, "-o", out, *options)
    assert (done.code, done.err) == (0, "")
    low = kfine.read(cine_file)
    expected = kfine.restore(low, scale=2, frames_scale=2, model=tiny_cine_folder, seed=3)
    got = kfine.read(out)
    np.testing.assert_array_equal(got.voxels, expected.mean.voxels)
    np.testing.assert_array_equal(kfine.read(tmp_path / "out_std.nii.gz").voxels, expected.std.voxels)
    np.testing.assert_allclose(got.frame_times, expected.mean.frame_times, atol=1e-5)
    assert np.diff(got.frame_times) == pytest.approx(0.075, abs=1e-5)
    assert got.period == pytest.approx(0.9)
    record = json.loads((tmp_path / "out.json").read_text())
    assert 0 < record.pop("wall_time_s") < 600
    assert record.pop("outputs")
    assert record.pop("call").keys() == {"options", "reading"}
    record.pop("dicom")
    assert record == json.loads(json.dumps(expected.provenance.as_dict()))
    assert done.lines[0].startswith(
        "16x14 to 32x28, 6 to 12 frames by tiny-cine, mean of 2; magnitude residual"
    )


def test_frames_alone_and_the_way_between_them(command, cine_file, tmp_path):
    call = ["restore", cine_file, "-o", tmp_path / "o.nii", "--frames", 9, "--method", "bicubic"]
    done = command(*call, "--time-method", "cubic")
    assert done.code == 0
    assert kfine.read(tmp_path / "o.nii").voxels.shape == (9, 2, 16, 14)
    assert json.loads((tmp_path / "o.json").read_text())["time_method"] == "cubic"
    assert "by bicubic, cubic" in done.lines[0]


def test_without_a_model_for_cines_the_note_says_what_was_done(command, cine_file, monkeypatch):
    monkeypatch.setattr("kfine.restoration.selection.packaged_models", lambda: [])
    done = command("restore", cine_file, "--scale", 2, "--frames-scale", 2)
    assert done.code == 0
    assert done.err.startswith(
        "kfine: note: no model for cines is packaged: zero-filling in space, optical-flow"
    )


@pytest.fixture
def interrupted(monkeypatch):
    """Let the restoration of slice 1 be interrupted by Ctrl-C, once."""
    import kfine.restoration.restore as restoration

    original, calls = restoration.restore_planned, []

    def restore(*plan, watch, **options):
        def tell(first, stop):
            watch.slices(first, stop)
            if first == 1 and not calls:
                calls.append(first)
                raise KeyboardInterrupt

        return original(*plan, watch=replace(watch, slices=tell), **options)

    monkeypatch.setattr(restoration, "restore_planned", restore)
    monkeypatch.setattr(restoration, "PIXELS_A_CALL", {"cpu": 1})  # slice by slice


def test_resume_goes_on_and_leaves_the_same_bytes(command, cine_file, tmp_path, files, interrupted):
    out = tmp_path / "o.nii.gz"
    call = [
        "restore",
        cine_file,
        "-o",
        out,
        "--scale",
        2,
        "--frames-scale",
        2,
        "--method",
        "zero-filling",
        "--resume",
    ]
    before = files()
    assert command(*call).code == 130
    left = set(files()) - set(before)
    assert left == {".o.nii.gz.kfine-part", ".o.nii.gz.kfine-part/slice-00000.npz"}
    assert RestorationFiles.of(out, None).parts.is_dir()
    assert command(*call).code == 0
    assert set(files()) - set(before) == {"o.nii.gz", "o.json"}
    resumed = out.read_bytes()
    assert command(*call[:-1], "--overwrite").code == 0
    assert out.read_bytes() == resumed


def test_what_resume_has_left_goes_with_the_next_result(command, cine_file, tmp_path, files, interrupted):
    before = files()
    call = ["restore", cine_file, "-o", tmp_path / "o.nii.gz", "--frames", 9, "--method", "bicubic"]
    assert command(*call, "--resume").code == 130
    assert set(files()) != set(before)
    assert command(*call).code == 0
    assert set(files()) - set(before) == {"o.nii.gz", "o.json"}


def test_without_resume_an_interruption_leaves_nothing(command, cine_file, files, interrupted):
    before = files()
    assert command("restore", cine_file, "--scale", 2, "--frames-scale", 2, "--method", "bicubic").code == 130
    assert files() == before


def test_resume_says_what_it_leaves_in_its_help(command):
    assert "hidden folder" in " ".join(command("restore", "--help").out.replace("│", " ").split())


def test_a_cine_has_a_figure_and_a_picture_that_moves(command, cine_file, tiny_cine_folder, tmp_path):
    picture = tmp_path / "f.png"
    options = ["--scale", 2, "--frames-scale", 2, "--model", tiny_cine_folder, "--figure", picture]
    done = command("restore", cine_file, *options)
    assert done.code == 0, done.err
    assert done.lines[-2:] == [str(picture), str(tmp_path / "f.gif")]
    assert picture.read_bytes().startswith(b"\x89PNG")
    with Picture.open(tmp_path / "f.gif") as gif:
        assert gif.n_frames == 12
    again = command("restore", cine_file, "-o", tmp_path / "other.nii", *options[:-1], tmp_path / "g.png")
    assert again.code == 0
    (tmp_path / "g.png").unlink()
    before = (tmp_path / "g.gif").read_bytes()
    refused = command("restore", cine_file, "-o", tmp_path / "third.nii", *options[:-1], tmp_path / "g.png")
    assert (refused.code, "g.gif: exists already" in refused.err) == (2, True)
    assert (tmp_path / "g.gif").read_bytes() == before


def test_one_frame_of_a_cine_at_its_own_matrix_has_a_still_figure(command, cine_file, tmp_path):
    picture = tmp_path / "one.png"
    done = command("restore", cine_file, "--frames", 1, "--method", "bicubic", "--figure", picture)
    assert done.code == 0, done.err
    assert done.lines[-1] == str(picture)
    assert not picture.with_suffix(".gif").exists()


def test_a_period_that_the_file_does_not_say(command, tmp_path):
    """As of another program's NIfTI: six frames, 0.15 s each."""
    name = tmp_path / "foreign.nii.gz"
    nib.save(
        nib.Nifti1Image(beating(6, slices=1, matrix=(16, 14)).voxels.transpose(3, 2, 1, 0), np.eye(4)), name
    )
    options = ["--frames", 12, "--method", "bicubic", "--time-method", "cubic"]
    assert command("restore", name, "-o", tmp_path / "line.nii", *options).code == 0
    assert command("restore", name, "-o", tmp_path / "circle.nii", *options, "--period", 0.9).code == 0
    line, circle = (kfine.read(tmp_path / f"{which}.nii") for which in ("line", "circle"))
    assert (line.period, circle.period) == (None, 0.9)
    own = kfine.read(name, period=0.9)
    assert own.frame_times == pytest.approx([0.15 * frame for frame in range(6)])
    np.testing.assert_allclose(circle.voxels[::2], own.voxels, rtol=1e-4, atol=1e-3)
    assert np.abs(line.voxels[::2] - own.voxels).max() > 1
    for arguments in (["--period", 0], ["--period", "inf"], ["--period", -1]):
        assert command("restore", name, "-o", tmp_path / "x.nii", *options, *arguments).code == 2


def test_frames_that_go_round_without_seconds(command, tmp_path):
    foreign = nib.Nifti1Image(np.moveaxis(beating(6, matrix=(16, 14)).voxels, (0, 1), (3, 2)), np.eye(4))
    foreign.header.set_xyzt_units("mm")
    foreign.header["pixdim"][4] = 0.05
    nib.save(foreign, tmp_path / "in.nii")
    call = ["restore", tmp_path / "in.nii", "-o", tmp_path / "o.nii", "--overwrite"]
    call += ["--frames-scale", 2, "--method", "zero-filling"]
    line = command(*call)
    assert kfine.read(tmp_path / "o.nii").frames == 11
    assert "no period: 11 frames, from the first to the last" in line.err
    assert "--periodic" in line.err
    beat = command(*call, "--periodic")
    assert (beat.code, kfine.read(tmp_path / "o.nii").frames) == (0, 12)
    assert "no period" not in beat.err
    both = command(*call, "--periodic", "--period", 1)
    assert both.code == 2
    assert "either a period or --periodic" in both.err


def test_what_a_figure_cannot_show_is_said_before_the_work(command, tmp_path, files):
    voxels = np.zeros((1, 4, 16, 16), np.float32)
    voxels[:, 3, 4:12, 4:12] = 1
    kfine.write(Image(voxels), tmp_path / "low.nii.gz")
    before = files()
    options = ["--scale", 2, "--method", "bicubic", "--slices", "0:2", "--figure", tmp_path / "f.png"]
    done = command("restore", tmp_path / "low.nii.gz", *options)
    assert (done.code, "slices with some contrast for a figure, 0:2 have none" in done.err) == (4, True)
    assert files() == before


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "--scale"),
        (["--frames-scale", 2, "--frames", 9], 2, "either"),
        (["--frames-scale", 0], 2, "--frames-scale"),
        (["--frames", "1e3"], 2, "--frames"),
        (["--frames", 10**6], 2, "at most"),
        (["--frames-scale", 30000], 2, "32767"),
        (["--frames-scale", 1], 2, "scale or a matrix"),
        (["--frames-scale", 2, "--method", "bicubic", "--time-method", "magic"], 2, "optical-flow"),
        (["--scale", 2, "--method", "bicubic", "--time-method", "linear"], 2, "without other frames"),
    ],
)
def test_refusals(command, cine_file, files, arguments, code, says):
    before = files()
    done = command("restore", cine_file, *arguments)
    assert (done.code, says in done.err) == (code, True), done.err
    assert files() == before


def test_one_frame_is_no_cine(command, low, files):
    before = files()
    for asked in (["--frames-scale", 2], ["--frames", 9]):
        done = command("restore", low, *asked, "--method", "bicubic")
        assert (done.code, "expected several frames, the image has one" in done.err) == (4, True)
    assert files() == before


def test_a_time_method_that_cannot_use_the_frames_is_refused_before_the_work(cine_file, monkeypatch):
    def restored(*_):
        raise AssertionError("the work began")

    monkeypatch.setattr("kfine.methods.time_interpolation.FrameByFrame.restore", restored)
    cine = replace(kfine.read(cine_file), period=None)
    with pytest.raises(InputError, match="band-limited interpolation: expected a cine with a period"):
        kfine.restore(cine, scale=2, frames=12, method="bicubic", time_method="band-limited")
