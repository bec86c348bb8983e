"""`kfine.batch` does what `kfine batch` does."""

import json
import subprocess
import sys

import numpy as np
import pytest

import kfine
from kfine.batches import run as run_of_a_batch
from kfine.cli import run
from kfine.errors import InputError, ModelError, UsageError
from kfine.image import Image
from tests.conftest import phantom, tree

PLAIN = {"scale": 2, "method": "zero-filling"}
AFFINE = np.diag([4.0, 2.0, 2.0, 1.0])


@pytest.fixture
def scans(tmp_path):
    for number, name in enumerate(("b.nii", "deep/a.nii.gz", "c.nii")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kfine.write(Image(phantom((1, 2, 16, 12), number), AFFINE), path)
    return tmp_path / "in"


def without_times(report):
    return report | {"cases": [case | {"seconds": 0} for case in report["cases"]]}


def test_the_same_files_and_report_as_the_command(scans, tmp_path, capsys):
    (scans / "c.nii").write_bytes(b"no image")
    call = ["batch", scans, tmp_path / "command", "--scale", 2, "--method", "zero-filling"]
    assert run([*map(str, call), "--report", str(tmp_path / "command.json")]) == 3
    printed = capsys.readouterr()
    done = kfine.batch(scans, str(tmp_path / "library"), report=tmp_path / "library.json", **PLAIN)
    assert capsys.readouterr() == ("", "")
    assert tree(tmp_path / "library") == tree(tmp_path / "command")
    of_command, of_library = (
        json.loads((tmp_path / f"{who}.json").read_text()) for who in ("command", "library")
    )
    assert without_times(of_library) == without_times(of_command)
    assert json.loads(json.dumps(done.report())) == of_library
    assert done.summary() == printed.out.splitlines()
    assert [(case.case, case.exit_code) for case in done.failed] == [("c.nii", 4)]


def test_what_is_finished_is_left_alone_by_both(scans, tmp_path):
    kfine.batch(scans, tmp_path / "out", **PLAIN)
    before = tree(tmp_path / "out")
    again = kfine.batch(scans, tmp_path / "out", **PLAIN)
    assert {case.status for case in again.outcomes} == {"finished before"}
    call = ["batch", scans, tmp_path / "out", "--scale", 2, "--method", "zero-filling"]
    assert run([*map(str, call)]) == 0  # also known by the command line: 2 is 2.0
    assert tree(tmp_path / "out") == before
    other = kfine.batch(scans, tmp_path / "out", scale=2, method="bicubic")
    assert ["overwrite=True" in case.said for case in other.failed] == [True] * 3
    assert not kfine.batch(scans, tmp_path / "out", overwrite=True, scale=2, method="bicubic").failed


def test_parts_make_the_whole(scans, tmp_path):
    parts = [kfine.batch(scans, tmp_path / "out", part=(number, 2), **PLAIN) for number in range(2)]
    assert sorted(len(part.outcomes) for part in parts) == [1, 2]
    assert sorted(case.case for part in parts for case in part.outcomes) == [
        "b.nii",
        "c.nii",
        "deep/a.nii.gz",
    ]
    only = kfine.batch(scans, tmp_path / "one", only=["deep/*"], **PLAIN)
    assert [case.case for case in only.outcomes] == ["deep/a.nii.gz"]


def test_notes_are_of_their_case(scans, tiny_model_folder, tmp_path, recwarn):
    """No warning is printed besides."""
    kfine.write(Image(phantom((3, 1, 16, 12)), AFFINE), scans / "frames.nii")
    recwarn.clear()
    done = kfine.batch(
        scans, tmp_path / "out", scale=2, model=tiny_model_folder, only=["frames.nii", "b.nii"]
    )
    assert {
        case.case: any("frames without times" in note for note in case.notes) for case in done.outcomes
    } == {
        "b.nii": False,
        "frames.nii": True,
    }
    assert not [warning for warning in recwarn.list if "kfine" in str(warning.filename)]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, UsageError, "either scale or matrix, got neither"),
        ({"scale": 2, "matrix": (32, 24)}, UsageError, "either scale or matrix, got both"),
        (PLAIN | {"colour": 1}, UsageError, "colour: no option of a batch; expected of scale,"),
        (PLAIN | {"part": (2, 2)}, UsageError, r"part \(2, 2\)"),
        (PLAIN | {"dicom": "modern"}, UsageError, "expected classic or enhanced"),
        (PLAIN | {"combine": "best"}, UsageError, "combine"),
        (PLAIN | {"report": "run.txt"}, UsageError, "ends in .json"),
        (PLAIN | {"only": ["none*"]}, InputError, "found none"),
        ({"scale": 2, "model": "no-such-model"}, ModelError, "no-such-model"),
        ({"scale": 2, "method": "magic"}, UsageError, "magic"),
    ],
)
def test_what_is_wrong_with_every_image_is_said_first(scans, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        kfine.batch(scans, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_output_lies_beside_the_input(scans, tmp_path):
    with pytest.raises(UsageError, match="lies in the input"):
        kfine.batch(scans, scans / "out", **PLAIN)
    with pytest.raises(InputError, match="expected a folder of images"):
        kfine.batch(tmp_path / "none", tmp_path / "out", **PLAIN)


def test_batch_stays_a_function_whatever_is_loaded():
    """A package of that name would replace it."""
    code = (
        "import kfine\nfirst = kfine.batch\nimport kfine.batches.run\nassert kfine.batch is first is not None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_report_that_another_process_writes_at_this_moment_is_replaced(tmp_path, monkeypatch):
    report, real = tmp_path / "run.json", run_of_a_batch.check_outputs

    def late(paths, *, overwrite):
        report.write_text(json.dumps({"report": run_of_a_batch._KIND}))
        real(paths, overwrite=overwrite)

    monkeypatch.setattr(run_of_a_batch, "check_outputs", late)
    run_of_a_batch.check_report(report, overwrite=False)
    monkeypatch.setattr(run_of_a_batch, "check_outputs", real)
    report.write_text("{}")
    with pytest.raises(UsageError, match="exists"):
        run_of_a_batch.check_report(report, overwrite=False)
