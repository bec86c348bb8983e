"""kfine info, kfine models, --version and --help."""

import json
import shutil

import numpy as np
import pytest

import kfine
from kfine.errors import InputError
from tests.io.dicom_files import cine, series


def test_info_of_an_image(command, low):
    done = command("info", low)
    assert done.code == 0
    for part in ("low.nii.gz", "nifti", "simulated from a real image", "1, 3, 16, 12", "4, 4, 4"):
        assert part in done.out
    facts = json.loads(command("info", low, "--json").out)
    assert facts["shape"] == [1, 3, 16, 12]
    assert facts["voxel size mm"] == pytest.approx([4, 4, 4])
    assert set(facts["intensity"]) == {"minimum", "median", "maximum"}
    assert facts["intensity"]["maximum"] == pytest.approx(float(kfine.read(low).voxels.max()))


def test_info_keeps_the_sign_of_intensities(command, tmp_path):
    voxels = np.zeros((1, 1, 5, 5), np.float32)
    voxels[0, 0] = np.linspace(-10, 1, 25).reshape(5, 5)
    kfine.write(kfine.Image(voxels), tmp_path / "signed.nii")
    facts = json.loads(command("info", tmp_path / "signed.nii", "--json").out)
    assert facts["intensity"] == pytest.approx({"minimum": -10, "median": -4.5, "maximum": 1})


def test_info_of_dicom_names_no_patient(command, tmp_path):
    series(tmp_path / "[b]scan", slices=3)
    done = command("info", tmp_path / "[b]scan", "--series", 3)
    assert done.code == 0
    assert "[b]scan" in done.out
    assert "ecretova" not in done.out
    facts = json.loads(command("info", tmp_path / "[b]scan", "--json").out)
    assert (facts["kind"], facts["shape"]) == ("dicom", [1, 3, 6, 8])
    assert facts["measured block"] == [6, 8]


def test_info_tells_a_zero_filled_image(command, tmp_path, monkeypatch):
    series(tmp_path / "scan", slices=2)
    monkeypatch.setattr("kfine.acquisition.zero_fill.measured_block", lambda image: (4, 5))
    assert json.loads(command("info", tmp_path / "scan", "--json").out)["measured block"] == [4, 5]


def test_info_of_a_cine(command, tmp_path):
    cine(tmp_path / "a", frames=5, NominalInterval=200)
    done = command("info", tmp_path / "a")
    for part in ("first 0.02, spacing 0.04, last 0.18", "period s", "0.2", "heart rate per minute", "300"):
        assert part in done.out
    facts = json.loads(command("info", tmp_path / "a", "--json").out)
    assert facts["shape"][0] == 5
    assert facts["frame times s"] == {"first": 0.02, "spacing": 0.04, "last": 0.18}
    assert (facts["period s"], facts["heart rate per minute"]) == (0.2, 300)
    assert {"notes", "frame spacing s"}.isdisjoint(facts)


def test_info_says_what_is_wrong_with_trigger_times(command, tmp_path):
    cine(tmp_path / "a", lambda s, f: 0.0)
    done = command("info", tmp_path / "a")
    assert "all equal in slice 1" in done.err
    facts = json.loads(command("info", tmp_path / "a", "--json").out)
    assert "all equal in slice 1" in facts["notes"][0]
    assert {"frame times s", "period s"}.isdisjoint(facts)
    cine(tmp_path / "b", lambda s, f: (0.0, 10.0, 50.0, 60.0)[f])
    facts = json.loads(command("info", tmp_path / "b", "--json").out)
    assert facts["frame spacing s"] == {"shortest": 0.01, "longest": 0.04}


def test_info_of_kspace(command, kspace):
    facts = json.loads(command("info", kspace, "--json").out)
    assert (facts["kind"], facts["k-space"]) == ("kspace", "measured")


def test_info_of_this_machine(command):
    facts = json.loads(command("info", "--json").out)
    assert facts["kfine"] == kfine.__version__
    assert {"torch", "device", "precision", "threads", "models"} <= set(facts)
    assert kfine.__version__ in command("info").out


def test_info_of_nothing_usable(command, tmp_path):
    assert command("info", tmp_path / "none.nii").code == 4
    assert command("info", tmp_path).code == 4


def test_without_models_the_list_says_what_to_do(command, tmp_path, monkeypatch):
    monkeypatch.setattr("kfine.models.checkpoint.PACKAGED", tmp_path)
    assert "kfine train vdm" in command("models").out
    assert json.loads(command("models", "--json").out) == {}


def test_models_are_listed(command, tmp_path, monkeypatch, tiny_model_folder):
    monkeypatch.setattr("kfine.models.checkpoint.PACKAGED", tmp_path)
    shutil.copytree(tiny_model_folder, tmp_path / "brain[i]-vdm")
    config = tmp_path / "brain[i]-vdm" / "config.json"
    told = {"trained_on": "brains", "ranges": {"voxel_size": [0.8, 2.1], "matrix": [128, 256]}}
    config.write_text(json.dumps(json.loads(config.read_text()) | told))
    shutil.copytree(tiny_model_folder, tmp_path / "plain")
    done = command("models")
    assert done.code == 0
    for part in ("brain[i]-vdm", "brains", "voxel size 0.8-2.1 mm, matrix 128-256", "plain"):
        assert part in done.out
    assert set(json.loads(command("models", "--json").out)) == {"brain[i]-vdm", "plain"}
    config.write_text("{}")
    assert command("models").code == 5


def test_the_version(command):
    assert command("--version").out == f"kfine {kfine.__version__}\n"
    assert command("--version", "restore").out == f"kfine {kfine.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["train"], ["--help"], ["train", "--help"]])
def test_help_lists_the_commands(command, arguments):
    done = command(*arguments)
    assert done.code == 0
    assert ("vdm" if "train" in arguments else "restore") in done.out


TRAINED = ("vdm", "srresnet", "srgan", "autoencoder", "ldm")
COMMANDS = (["restore"], ["degrade"], ["evaluate"], ["info"], ["models"], ["demo"])
COMMANDS += tuple(["train", name] for name in TRAINED)


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_help_teaches_every_option(command, name):
    import typer

    from kfine.cli.app import app

    done = command(*name, "--help")
    assert done.code == 0
    assert all(len(line) <= 80 for line in done.lines)
    found = typer.main.get_command(app)
    for part in name:
        found = found.commands[part]
    for parameter in found.params:
        assert getattr(parameter, "help", None), f"{parameter.name} has no help"
        spoken = parameter.default is not None or "left out" in parameter.help or parameter.required
        alternative = parameter.name in {"scale", "matrix", "figure", "json_output"}
        assert spoken or alternative, f"{parameter.name}: says no default"
        if parameter.opts[0].startswith("-"):
            assert max(parameter.opts, key=len) in done.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["restor"], "'restore'"),
        (["--bogus"], "kfine --help"),
        (["restore"], "IN"),
        (["restore", "a", "b"], "kfine restore --help"),
        (["train", "gan"], "kfine train --help"),
    ],
)
def test_wrong_words_are_usage_errors(command, arguments, says):
    done = command(*arguments)
    assert (done.code, says in done.err) == (2, True), done.err


def test_the_library_gives_what_the_command_prints(command, tmp_path):
    """Of images, whatever their kind and with what is noted of them, and of this machine."""
    cine(tmp_path / "scan", frames=5, NominalInterval=200)
    kfine.write(kfine.Image(np.arange(48.0).reshape(3, 1, 4, 4)), tmp_path / "frames.nii")
    for arguments in ((tmp_path / "scan",), (str(tmp_path / "frames.nii"),), ()):
        assert kfine.info(*arguments) == json.loads(command("info", *arguments, "--json").out)
    assert kfine.info(tmp_path / "frames.nii")["notes"][0].startswith("frames.nii: frames without times")
    with pytest.raises(InputError, match="no such file"):
        kfine.info(tmp_path / "none.nii")


def test_the_library_shows_no_warning_of_what_it_notes(tmp_path, recwarn):
    kfine.write(kfine.Image(np.arange(48.0).reshape(3, 1, 4, 4)), tmp_path / "frames.nii")
    recwarn.clear()
    assert kfine.info(tmp_path / "frames.nii")["notes"]
    assert not recwarn.list
