"""kfine batch: a folder in, a folder out; what fails, what is finished, and what is said of it."""

import json

import pytest

from tests.cli.conftest import save, tree
from tests.io.dicom_files import series
from tests.io.raw_files import COLUMNS, ROWS, measured, write_fastmri, xml_header

SIMPLE = ["--scale", 2, "--method", "zero-filling"]


def test_each_image_is_restored_as_restore_does(batch, command, scans, tiny_model_folder, tmp_path):
    call = ["--scale", 2, "--model", tiny_model_folder, "--seed", 3]
    done = batch(scans, tmp_path / "out", *call)
    assert (done.code, done.lines) == (0, ["2 images: 2 restored"])
    names = ("_kfine.nii.gz", "_kfine_std.nii.gz", "_kfine.json")
    results = tree(tmp_path / "out")
    assert sorted(results) == sorted(stem + name for stem in ("b", "deep/a") for name in names)
    assert command("restore", scans / "b.nii", *call).code == 0
    for name in names[:2]:
        assert results[f"b{name}"] == (scans / f"b_x2{name}").read_bytes()
    record = json.loads(results["b_kfine.json"])
    assert record.pop("stamp")["outputs"].keys() == {"b_kfine.nii.gz", "b_kfine_std.nii.gz"}
    single = json.loads((scans / "b_x2_kfine.json").read_text())
    assert single.pop("wall_time_s") > 0  # a batch has it in its report: its records are the same every time
    assert single.pop("outputs").keys() == {f"b_x2{name}" for name in names[:2]}  # a batch's are in its stamp
    for name in ("call", "dicom"):  # for kfine replay
        single.pop(name)
    assert record == single


def test_what_is_finished_stays_and_what_is_not_is_made_anew(batch, scans, tmp_path):
    out, report = tmp_path / "out", tmp_path / "run.json"
    call = [scans, out, *SIMPLE, "--report", report]
    assert batch(*call).code == 0
    first, when = tree(out), (out / "b_kfine.nii.gz").stat().st_mtime_ns
    done = batch(*call)
    assert (done.code, done.lines) == (0, ["2 images: 2 finished before"])
    assert (out / "b_kfine.nii.gz").stat().st_mtime_ns == when
    for name in first:
        path = out / name
        for damage in (b"", first[name][:-1], first[name][:-1] + b"?"):
            path.write_bytes(damage)
            done = batch(*call)
            assert (done.code, done.lines) == (0, ["2 images: 1 restored, 1 finished before"]), name
            assert tree(out) == first
    (out / "b_kfine.nii.gz").unlink()
    assert batch(*call).lines == ["2 images: 1 restored, 1 finished before"]
    save(scans / "b.nii", 5)  # the input has changed: by content, not by name
    done = batch(*call)
    assert (done.code, "other input" in done.err) == (3, True)
    done = batch(*call, "--overwrite")
    assert (done.code, done.lines) == (0, ["2 images: 1 restored, 1 finished before"])
    assert {name for name, content in tree(out).items() if content != first[name]} == {
        "b_kfine.nii.gz", "b_kfine_std.nii.gz", "b_kfine.json",
    }  # fmt: skip
    said = json.loads(report.read_text())
    assert (said["complete"], said["counts"]) == (True, {"restored": 1, "finished before": 1, "all": 2})
    assert [case["files"] for case in said["cases"]] == [
        ["b_kfine.nii.gz", "b_kfine_std.nii.gz", "b_kfine.json"],
        ["deep/a_kfine.nii.gz", "deep/a_kfine_std.nii.gz", "deep/a_kfine.json"],
    ]


def test_other_options_do_not_replace_results_unasked(batch, scans, tmp_path):
    assert batch(scans, tmp_path / "out", *SIMPLE).code == 0
    before = tree(tmp_path / "out")
    done = batch(scans, tmp_path / "out", "--scale", 3, "--method", "zero-filling")
    assert (done.code, done.err.count("add --overwrite")) == (3, 2)
    assert tree(tmp_path / "out") == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b_kfine.nii.gz").write_text("somebody's")
    assert batch(scans, tmp_path / "other", *SIMPLE).code == 3
    assert (tmp_path / "other" / "b_kfine.nii.gz").read_text() == "somebody's"


def test_a_case_that_fails_does_not_stop_the_others(batch, scans, tmp_path, monkeypatch):
    (scans / "a\x1b[31m.nii.gz").write_bytes(b"no image")
    save(scans / "c.nii", 3)
    (scans / "c.nii").write_bytes((scans / "c.nii").read_bytes()[:-9])
    from kfine.batches import worker

    def fault(*arguments):
        raise ValueError("Secretova^Anna")  # whatever an unexpected error may say

    monkeypatch.setattr(worker, "summary", fault)
    done = batch(scans, tmp_path / "out", *SIMPLE, "--report", tmp_path / "run.json", "--only", "[abc]*")
    assert done.code == 3
    assert done.lines[0] == "3 images: 3 failed"
    assert "Secretova" not in done.out + done.err + (tmp_path / "run.json").read_text()
    monkeypatch.undo()
    done = batch(scans, tmp_path / "out", *SIMPLE, "--report", tmp_path / "run.json", "--quiet")
    assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 2)
    said = {case["case"]: case for case in json.loads((tmp_path / "run.json").read_text())["cases"]}
    assert {label: case["exit_code"] for label, case in said.items()} == {
        "a?[31m.nii.gz": 4, "b.nii": 0, "c.nii": 4, "deep/a.nii.gz": 0,
    }  # fmt: skip
    assert "truncated" in said["c.nii"]["said"]
    assert not any("c_kfine" in name for name in tree(tmp_path / "out"))


def test_noise_may_be_what_raw_kspace_tells(batch, tiny_model_folder, tmp_path):
    pytest.importorskip("h5py")
    header = xml_header((ROWS, COLUMNS, 1), (ROWS, COLUMNS, 3))
    (tmp_path / "in").mkdir()
    write_fastmri(tmp_path / "in" / "raw.h5", measured(2, 0.01)[None], header)
    save(tmp_path / "in" / "real.nii")
    call = ["--scale", 1.25, "--noise", "data", "--model", tiny_model_folder]
    done = batch(tmp_path / "in", tmp_path / "out", *call)
    assert (done.code, done.lines[0]) == (3, "2 images: 1 restored, 1 failed")
    assert "noise data: expected raw k-space" in done.lines[1]
    assert {path.name for path in (tmp_path / "out").glob("*_kfine.nii.gz")} == {"raw_kfine.nii.gz"}


def test_parts_do_everything_once(batch, scans, tmp_path):
    save(scans / "c.nii")
    (scans / "d.nii").write_text("no image")
    parts = [batch(scans, tmp_path / "out", *SIMPLE, "--num-parts", 2, "--part-id", n) for n in (0, 1)]
    assert [part.lines[0] for part in parts] == ["3 images: 2 restored, 1 failed", "1 image: 1 restored"]
    done = batch(scans, tmp_path / "out", *SIMPLE, "--num-parts", 9, "--part-id", 8)
    assert (done.code, done.lines) == (0, ["0 images"])
    assert batch(scans, tmp_path / "whole", *SIMPLE).code == 3
    assert tree(tmp_path / "whole") == tree(tmp_path / "out")


def test_dicom_series_join_their_study(batch, command, tmp_path):
    pytest.importorskip("highdicom", reason="DICOM output needs the extra dicom")
    study = {"StudyInstanceUID": "1.2.3.4"}
    series(tmp_path / "in" / "one", slices=2, **study)
    series(tmp_path / "in" / "two", slices=2, SeriesInstanceUID="1.2.3.4.5", **study)
    call = [*SIMPLE, "--dicom", "classic"]
    assert batch(tmp_path / "in", tmp_path / "out", *call).code == 0
    assert command("restore", tmp_path / "in" / "two", "-o", tmp_path / "two_kfine", *call).code == 0
    results = tree(tmp_path / "out")
    assert len(results) == 8  # of each series two slices, a map and a record
    for image in (tmp_path / "two_kfine").iterdir():
        assert results[f"two_kfine/{image.name}"] == image.read_bytes()
    (tmp_path / "out" / "two_kfine" / "IM00002.dcm").unlink()
    done = batch(tmp_path / "in", tmp_path / "out", *call)
    assert (done.code, done.lines) == (0, ["2 images: 1 restored, 1 finished before"])
    assert tree(tmp_path / "out") == results


def test_an_interruption_writes_the_report(batch, scans, tmp_path, monkeypatch):
    from kfine.batches import worker

    original, calls = worker.restore_case, []

    def stop(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(worker, "restore_case", stop)
    done = batch(scans, tmp_path / "out", *SIMPLE, "--report", tmp_path / "run.json")
    assert done.code == 130
    said = json.loads((tmp_path / "run.json").read_text())
    assert (said["complete"], [case["case"] for case in said["cases"]]) == (False, ["b.nii"])
    assert sorted(tree(tmp_path / "out")) == ["b_kfine.json", "b_kfine.nii.gz", "b_kfine_std.nii.gz"]


def test_slices_are_kept_until_the_image_is_finished(batch, scans, tiny_model_folder, tmp_path, monkeypatch):
    import kfine.restoration.pipeline as case_module

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    call = [scans, tmp_path / "out", "--scale", 2, "--model", tiny_model_folder, "--resume"]
    with monkeypatch.context() as patch:
        patch.setattr(case_module, "write_restoration", stop)
        assert batch(*call).code == 130
    kept = [name for name in tree(tmp_path / "out") if "kfine-part" in name]
    assert len(kept) == 2
    assert batch(*call).code == 0
    assert not [name for name in tree(tmp_path / "out") if name.startswith(".")]
