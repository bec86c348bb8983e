"""kfine restore: what it writes, where, and that it is what the library returns."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import kfine
from kfine.cli import run
from kfine.image import Image
from kfine.methods.vdm import VDMMethod
from kfine.restoration.progress import Forecast
from tests.io.dicom_files import series


def test_mean_std_and_record_are_those_of_the_library(command, low, tiny_model_folder, tmp_path):
    out = tmp_path / "out.nii.gz"
    done = command("restore", low, "-o", out, "--matrix", "32x26", "--model", tiny_model_folder, "--seed", 5)
    assert done.code == 0
    expected = kfine.restore(kfine.read(low), matrix=(32, 26), model=tiny_model_folder, seed=5)
    mean, std = kfine.read(out), kfine.read(tmp_path / "out_std.nii.gz")
    np.testing.assert_array_equal(mean.voxels, expected.mean.voxels)
    np.testing.assert_array_equal(std.voxels, expected.std.voxels)
    np.testing.assert_allclose(mean.affine, expected.mean.affine, atol=1e-5)
    record = json.loads((tmp_path / "out.json").read_text())
    assert 0 < record.pop("wall_time_s") < 600
    assert record.pop("outputs")
    assert record.pop("call").keys() == {"options", "reading"}
    record.pop("dicom")
    assert record == json.loads(json.dumps(expected.provenance.as_dict()))
    assert record["input"]["name"] == "low.nii.gz"
    assert len(record["input"]["sha256"]) == len(record["model"]["sha256"]) == 64
    assert 1e-5 < record["relative_magnitude_residual"] < 1  # magnitudes are not projected onto
    assert done.err == ""
    assert done.lines[0].startswith("16x12 to 32x26 by tiny, mean of 2; magnitude residual ")
    assert done.lines[1:] == [str(tmp_path / name) for name in ("out.nii.gz", "out_std.nii.gz", "out.json")]


@pytest.mark.parametrize("weight", [["--strength", 0.5], ["--noise", 0.01]], ids=["strength", "noise"])
def test_options_reach_the_library(command, low, tiny_model_folder, tmp_path, weight):
    chosen = ["--samples", 3, "--steps", 4, *weight, "--sampler", "ddim"]
    chosen += ["--start", "inf", "--device", "cpu", "--precision", "float32", "--slices", "1:3", "--seed", 9]
    done = command(
        "restore", low, "-o", tmp_path / "o.nii", "--scale", 2, "--model", tiny_model_folder, *chosen
    )
    assert done.code == 0
    record = json.loads((tmp_path / "o.json").read_text())
    given = {weight[0].removeprefix("--"): weight[1]}
    expected = kfine.restore(
        kfine.read(low), scale=2, model=tiny_model_folder, samples=3, steps=4, sampler="ddim", **given,
        start=float("inf"), device="cpu", precision="float32", slices=(1, 3), seed=9,
    )  # fmt: skip
    assert 0 < record.pop("wall_time_s") < 600
    assert record.pop("outputs")
    assert record.pop("call").keys() == {"options", "reading"}
    record.pop("dicom")
    assert record == json.loads(json.dumps(expected.provenance.as_dict()))
    assert kfine.read(tmp_path / "o.nii").voxels.shape == (1, 2, 32, 24)
    assert (tmp_path / "o_std.nii").exists()


def test_without_a_name_the_files_lie_beside_the_input(command, low):
    assert command("restore", low, "--scale", 2, "--method", "bicubic").code == 0
    assert {p.name for p in low.parent.glob("low_*")} == {
        "low_x2_bicubic_kfine.nii.gz", "low_x2_bicubic_kfine.json"
    }  # fmt: skip


def test_a_dicom_folder_gives_a_file_beside_the_folder(command, tmp_path, monkeypatch):
    series(tmp_path / "scan", slices=3)
    assert command("restore", tmp_path / "scan", "--scale", 2, "--method", "zero-filling").code == 0
    assert kfine.read(tmp_path / "scan_x2_zero-filling_kfine.nii.gz").voxels.shape == (1, 3, 12, 16)
    monkeypatch.chdir(tmp_path / "scan")
    assert command("restore", ".", "--scale", 2, "--method", "zero-filling", "--overwrite").code == 0
    assert command("restore", ".", "--scale", 2, "--method", "zero-filling").code == 2


def test_kspace_is_restored_to_a_magnitude_image(command, kspace, tiny_model_folder, tmp_path):
    done = command(
        "restore", kspace, "--scale", 2, "--model", tiny_model_folder, "--figure", tmp_path / "f.png"
    )
    assert done.code == 0
    assert done.err.startswith("kfine: note: raw.npy: .npy stores no voxel size")
    mean = kfine.read(tmp_path / "raw_x2_kfine.nii.gz")
    assert mean.voxels.dtype == np.float32
    assert mean.voxels.min() >= 0
    assert json.loads((tmp_path / "raw_x2_kfine.json").read_text())["kspace"] == "measured"


def test_one_sample_has_no_std_and_takes_a_former_one_away(command, low, tiny_model_folder, tmp_path):
    call = ["restore", low, "-o", tmp_path / "o.nii.gz", "--scale", 2, "--model", tiny_model_folder]
    assert command(*call).code == 0
    assert (tmp_path / "o_std.nii.gz").exists()
    done = command(*call, "--samples", 1, "--overwrite")
    assert done.code == 0
    assert not (tmp_path / "o_std.nii.gz").exists()
    assert str(tmp_path / "o_std.nii.gz") not in done.lines


def test_nothing_is_replaced_unasked(command, low, tmp_path, files):
    for name in ("o.nii.gz", "o_std.nii.gz", "o.json", "o.png"):
        (tmp_path / name).write_bytes(b"precious")
        before = files()
        call = ["restore", low, "-o", tmp_path / "o.nii.gz", "--scale", 2, "--method", "bicubic"]
        done = command(*call, "--figure", tmp_path / "o.png")
        assert done.code == 2
        assert f"{name}: exists already; add --overwrite" in done.err
        assert files() == before
        (tmp_path / name).unlink()


def test_overwrite_replaces(command, low, tmp_path):
    (tmp_path / "o.nii.gz").write_bytes(b"old")
    call = ["restore", low, "-o", tmp_path / "o.nii.gz", "--scale", 2, "--method", "bicubic"]
    assert command(*call, "--overwrite").code == 0
    assert kfine.read(tmp_path / "o.nii.gz").matrix == (32, 24)


def test_the_input_is_replaced_only_when_asked(command, low, tmp_path, files):
    before = files()
    call = ["restore", low, "-o", low, "--scale", 2, "--method", "bicubic"]
    assert command(*call).code == 2
    assert files() == before
    expected = kfine.restore(kfine.read(low), scale=2, method="bicubic").mean.voxels
    assert command(*call, "--overwrite").code == 0
    np.testing.assert_array_equal(kfine.read(low).voxels, expected)


def test_a_side_file_never_replaces_the_input(command, low, tmp_path, files):
    shutil.copy(low, tmp_path / "brain_std.nii.gz")
    before = files()
    call = ["restore", tmp_path / "brain_std.nii.gz", "-o", tmp_path / "brain.nii.gz", "--scale", 2]
    done = command(*call, "--method", "bicubic", "--overwrite")
    assert done.code == 2
    assert "is an input" in done.err
    assert files() == before


def test_quiet_says_nothing(command, kspace, tmp_path):
    done = command("restore", kspace, "--scale", 2, "--method", "bicubic", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_figure_is_drawn_on_request(command, low, tiny_model_folder, tmp_path, suffix, start):
    path = tmp_path / f"f.{suffix}"
    call = ["restore", low, "--scale", 2, "--model", tiny_model_folder, "--slices", "1:3"]
    done = command(*call, "--figure", path)
    assert done.code == 0
    assert done.lines[-1] == str(path)
    assert path.read_bytes().startswith(start)


def test_the_figures_text(low, tiny_model_folder):
    from kfine.restoration.pictures import figure_of

    image = kfine.read(low)
    result = kfine.restore(image, scale=2, model=tiny_model_folder, slices=(1, 3), seed=4)
    said = " ".join(text.get_text() for text in figure_of(result).texts)
    said = " ".join(said.split())
    for part in (
        "low.nii.gz",
        "of 0-2 of the input",
        "model tiny",
        "mean of 2 samples of 3 network evaluations, seed 4",
        "k-space simulated from a real image",
        f"kfine {kfine.__version__}",
    ):
        assert part in said


def test_a_baseline_is_drawn_under_its_name(command, low, tmp_path):
    """It has a model and no samples."""
    from kfine.restoration.pictures import figure_of

    call = ["restore", low, "--scale", 2, "--method", "srresnet"]
    done = command(*call, "--figure", tmp_path / "f.png")
    assert done.code == 0
    assert done.lines[0].startswith("16x12 to 32x24 by srresnet; magnitude residual ")
    assert (tmp_path / "f.png").exists()
    image = kfine.read(low)
    result = kfine.restore(image, scale=2, method="srresnet")
    said = " ".join(" ".join(text.get_text() for text in figure_of(result).texts).split())
    for part in ("model srresnet", "method srresnet"):
        assert part in said


@pytest.mark.parametrize("name", ["ünï cödé 脑.nii.gz", "[bold]x[red].nii.gz", ":file: [i] a.nii", "--x.nii"])
def test_names_are_printed_as_they_are(command, low, tmp_path, name):
    out = tmp_path / name
    done = command("restore", low, "-o", out, "--scale", 2, "--method", "bicubic")
    assert done.code == 0
    assert str(out) in done.lines
    assert out.exists()


def test_a_figure_in_another_folder_comes_with_the_rest(command, low, tmp_path, files):
    (tmp_path / "pictures").mkdir()
    call = ["restore", low, "--scale", 2, "--method", "bicubic", "--figure", tmp_path / "pictures" / "p.png"]
    assert command(*call).code == 0
    assert [p.name for p in (tmp_path / "pictures").iterdir()] == ["p.png"]
    assert not [name for name in files() if ".kfine-" in name]


def test_a_terminal_sees_a_bar(monkeypatch, capsys, low):
    from rich.console import Console

    from kfine.cli import console

    terminal = Console(stderr=True, force_terminal=True, width=100)
    monkeypatch.setattr(console, "err", terminal)
    with console.progress("restoring", quiet=False) as on_progress:
        on_progress(0, 4)
        on_progress(4, 4)
    assert "restoring" in capsys.readouterr().err
    with console.progress("restoring", quiet=True) as on_progress:
        on_progress(4, 4)
    assert capsys.readouterr().err == ""


def test_a_long_restoration_says_first_how_long_it_takes(
    command, low, tiny_model_folder, monkeypatch, tmp_path
):
    """And names a faster method; the time is that of the steps done."""
    clock = {"now": 0.0}
    monkeypatch.setattr(Forecast.__init__, "__defaults__", (lambda: clock["now"],))
    monkeypatch.setattr("kfine.restoration.restore.PIXELS_A_CALL", {"cpu": 1})  # slice by slice
    original = VDMMethod.restore

    def slow(self, operator, y, draws):
        clock["now"] += 0 if clock["now"] else 1  # loading and warming up

        def step(evaluations):
            clock["now"] += 2 * evaluations
            draws.on_step(evaluations)

        return original(self, operator, y, replace(draws, on_step=step))

    monkeypatch.setattr(VDMMethod, "restore", slow)
    call = ["restore", low, "-o", tmp_path / "o.nii", "--scale", 2, "--model", tiny_model_folder]
    assert command(*call).err == "kfine: about 37 s on this machine by vdm; faster: --method core\n"
    assert command(*call, "--overwrite", "--quiet").err == ""


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--scale", 1.5, "--method", "bicubic"], "low_x1p5_bicubic_kfine"),
        (["--matrix", "32x24", "--method", "zero-filling"], "low_32x24_zero-filling_kfine"),
    ],
)
def test_default_names_differ_by_method_and_size(command, low, options, name):
    assert command("restore", low, *options).code == 0
    made = {f"{name}.nii.gz", f"{name}.json"}
    made |= {f"{name}_std.nii.gz"} if "zero-filling" in options else set()  # whose error is known
    assert {path.name for path in low.parent.glob("low_*")} == made


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("words", [[], ["restore"], ["train", "vdm"]])
def test_help_has_a_short_name(command, option, words):
    done = command(*words, option)
    assert (done.code, "Usage" in done.out) == (0, True)


def test_the_shell_completes_names_of_commands(monkeypatch, capsys):
    monkeypatch.setenv("_KFINE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "kfine rest")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert run([]) == 0
    assert capsys.readouterr().out.split() == ["restore"]


def test_a_transposed_matrix_is_noticed(command, tmp_path):
    """98 x 124 voxels in the file are 124 rows and 98 columns."""
    image = Image(np.random.default_rng(0).uniform(1, 2, (1, 1, 31, 24)))
    kfine.write(image, tmp_path / "a.nii.gz")
    call = [
        "restore",
        tmp_path / "a.nii.gz",
        "-o",
        tmp_path / "o.nii.gz",
        "--method",
        "bicubic",
        "--overwrite",
    ]
    done = command(*call, "--matrix", "48x62")
    assert done.err == (
        "kfine: note: matrix 48x62 (rows x columns) makes voxels of 1 x 1 mm into 0.646 x 0.387: the image has 31 rows "
        "and 24 columns, rows are counted along axis 2 of the file, columns along axis 1 of the file; "
        "did you mean 62x48?\n"
    )
    assert command(*call, "--matrix", "62x48").err == ""
    oblong = replace(image, affine=np.diag([1.0, 2.0, 1.0, 1.0]))
    kfine.write(oblong, tmp_path / "a.nii.gz", overwrite=True)
    assert command(*call, "--matrix", "62x24").err == ""  # oblong voxels become square
