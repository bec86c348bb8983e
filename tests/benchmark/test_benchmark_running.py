"""The benchmark from a folder of images to its files: scores, finished cases, refusals."""

import csv
import importlib
import json
import math
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

import kfine
from kfine.benchmark import Outcome, benchmark
from kfine.benchmark.cases import _file_name, metered, volume_seed
from kfine.benchmark.competitors import available, chosen, code_of, seen_in_training
from kfine.benchmark.report.page import _settings
from kfine.benchmark.results import BASELINE, SAMPLED, wins
from kfine.benchmark.writing import markdown, poster_rows
from kfine.errors import InputError, UsageError
from kfine.evaluation.metrics import psnr
from tests.benchmark.conftest import Offset

BASE = ["zero-filling", "nearest"]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("benchmark") / "out"


@pytest.fixture(scope="module")
def found(folder, output):
    return benchmark(
        folder, output, methods=[*BASE, Offset()], degradations=["kspace-x2", "noisy-x2"], slices=2
    )


def test_every_file_tells_the_same(found, folder, output):
    rows = list(csv.DictReader((output / "results.csv").open()))
    # 2 degradations, 4 volumes of 2 slices, 2 baselines and a method with a mean and a sample.
    assert len(rows) == 2 * 4 * 2 * 4
    written = json.loads((output / "results.json").read_text())
    assert written["about"]["subjects"] == ["p1", "p2", "p3"]
    mine = [
        float(r["psnr"]) for r in rows if (r["degradation"], r["method"]) == ("kspace-x2", "zero-filling")
    ]
    by_patient = [
        np.mean(mine[:2]),
        np.mean(mine[2:4]),
        np.mean(mine[4:]),
    ]  # p3 has two volumes, and one vote
    summary = written["summary"]["kspace-x2"]["methods"]["zero-filling"]["metrics"]["psnr"]
    assert summary["mean"] == pytest.approx(np.mean(by_patient))
    assert summary["patients"] == 3
    assert (min(by_patient), max(by_patient)) == (
        pytest.approx(summary["low"]),
        pytest.approx(summary["high"]),
    )
    report = (output / "report.html").read_text("utf-8")
    assert f"{summary['mean']:.2f}" in report


def test_a_score_is_that_of_the_package_itself(found, folder):
    record = found.of("kspace-x2", "zero-filling")[0]
    truth = record.case.truth
    volume = kfine.read(folder / truth.name)
    image = replace(volume, voxels=volume.voxels[:, list(truth.numbers)])
    low = kfine.degrade(image, scale=2, seed=volume_seed(record.case.truth, 0))
    restored = kfine.restore(low, scale=2, method="zero-filling").mean.voxels[0, 0]
    span = float(np.ptp(image.voxels))
    expected = psnr(image.voxels[0, 0], restored, data_range=span, mask=truth.body[0])
    assert record.values["psnr"][0] == pytest.approx(expected, abs=1e-4)
    assert record.values["laplacian_off"][0] == pytest.approx(
        100 * abs(record.values["laplacian"][0] / record.values["laplacian_truth"][0] - 1)
    )


def test_spread_and_sample_are_held_against_the_truth(found):
    (mean, *_), (sample, *_) = (found.of("kspace-x2", n) for n in ("offset", "offset, one sample"))
    base = found.of("kspace-x2", "zero-filling")[0]
    np.testing.assert_allclose(sample.values["psnr"], base.values["psnr"], atol=1e-4)
    (shown, spread), (drawn, _) = mean.picture(), sample.picture()
    np.testing.assert_allclose(shown - drawn, 200, rtol=1e-4)
    np.testing.assert_array_equal(spread, np.full_like(shown, 200))
    calibration = found.calibration("kspace-x2", "offset")
    body = sum(int(r.case.truth.body.sum()) for r in found.of("kspace-x2", "offset"))
    assert calibration.sums[0].sum() == body
    assert found.calibration("kspace-x2", "zero-filling") is not None  # which states its error
    assert found.calibration("kspace-x2", "offset, one sample") is None
    assert (found.tier("zero-filling"), found.tier("offset, one sample")) == (BASELINE, SAMPLED)


@pytest.mark.usefixtures("no_report")
def test_finished_cases_are_known_by_content(folder, tmp_path):
    options = {"degradations": ["kspace-x2"], "slices": 1, "overwrite": True}
    first = Offset()
    before = benchmark(folder, tmp_path / "out", methods=["nearest", first], **options)
    again, other = Offset(), Offset(by=100.0)
    after = benchmark(folder, tmp_path / "out", methods=["nearest", again], **options)
    assert (first.calls, again.calls) == (4, 0)
    for one, two in zip(before.records, after.records, strict=True):
        assert one.label == two.label
        np.testing.assert_equal(one.values, two.values)
    # The same name and the same files, but other settings: not the same case.
    benchmark(folder, tmp_path / "out", methods=["nearest", other], **options)
    assert other.calls == 4
    damaged = next((tmp_path / "out" / "cases").rglob("*offset/*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    last = Offset(by=100.0)
    benchmark(folder, tmp_path / "out", methods=["nearest", last], **options)
    assert last.calls == 1


@pytest.mark.usefixtures("no_report")
def test_cases_timed_elsewhere_are_said(folder, tmp_path, monkeypatch):
    options = {"methods": ["nearest"], "degradations": ["kspace-x2"], "slices": 1, "overwrite": True}
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("kfine.benchmark.cases.machine", lambda: "abacus")
        benchmark(folder, tmp_path / "out", **options)
    after = benchmark(folder, tmp_path / "out", **options)
    assert "time and memory of some cases were measured before: abacus" in after.notes
    assert not any("abacus" in note for note in benchmark(folder, tmp_path / "new", **options).notes)


@pytest.mark.usefixtures("no_report")
def test_an_interrupted_run_goes_on(folder, tmp_path):
    class Stops(Offset):
        def restore(self, low, *, matrix, seed):
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().restore(low, matrix=matrix, seed=seed)

    options = {"degradations": ["bicubic-x2"], "slices": 1}
    stops = Stops()
    with pytest.raises(KeyboardInterrupt):
        benchmark(folder, tmp_path / "out", methods=["nearest", stops], **options)
    assert not (tmp_path / "out" / "report.html").exists()
    stops.calls = -10
    benchmark(folder, tmp_path / "out", methods=["nearest", stops], **options)
    assert stops.calls == -8  # two of four volumes were left
    assert not list((tmp_path / "out").glob(".*"))


def test_a_better_baseline_is_told_first(found, output):
    defeats, compared = wins(found)
    assert compared >= len(defeats)
    for win in defeats:
        best = found.estimate(win.degradation, win.simpler, win.metric).mean
        own = found.estimate(win.degradation, win.method, win.metric).mean
        assert win.gain.mean == pytest.approx(abs(best - own))
        assert (best > own) == (win.metric in ("psnr", "ssim", "ms_ssim"))
    assert {w.metric for w in defeats if w.method == "offset"} >= {"psnr", "ssim"}
    assert all(w.gain.mean > 0 for w in defeats)
    report = (output / "report.html").read_text("utf-8")
    assert report.index("Where a simpler method is better</h2>") < report.index(
        "Gains over the best baseline</h2>"
    )
    assert found.best("kspace-x2", "nrmse", found.baselines) == "zero-filling"
    gain = found.gain("kspace-x2", "nearest", "zero-filling", "nrmse")
    assert gain.mean < 0
    assert found.difference("kspace-x2", "nearest", "zero-filling", "nrmse").mean == pytest.approx(-gain.mean)


def test_the_poster_s_table_ends_with_the_reference(found, output):
    rows = poster_rows(found, "kspace-x2")
    assert [row.name for row in rows] == [
        "low resolution", "zero-filling", "offset", "offset, one sample", "reference",
    ]  # fmt: skip
    own = found.estimate("kspace-x2", "nearest", "laplacian_truth").mean
    assert rows[-1].values[0] == own
    lines = markdown(found, "kspace-x2").splitlines()
    assert len(lines) == 7
    assert all(line.count("|") == 7 for line in lines)
    assert lines[-1].startswith(f"| reference | {own:.1f} | -")
    document = (output / "poster.md").read_text("utf-8")
    assert markdown(found, "kspace-x2") in document
    assert markdown(found, "noisy-x2") in document


def test_a_method_that_cannot_does_not_stop_the_others(folder, tmp_path):
    class Wrong(Offset):
        def restore(self, low, *, matrix, seed):
            return Outcome(low)

    class Broken(Offset):
        def restore(self, low, *, matrix, seed):
            good = super().restore(low, matrix=matrix, seed=seed).mean
            return Outcome(replace(good, voxels=good.voxels * np.nan))

    methods = ["nearest", Wrong("wrong"), Broken("broken")]
    found = benchmark(folder, tmp_path / "out", methods=methods, degradations=["kspace-x2"], slices=1)
    assert found.methods == ["nearest"]
    assert len(found.failures) == 8
    report = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "expected finite voxels" in report
    assert "expected the reference&#39;s shape" in report
    with pytest.raises(InputError, match=r"no method gave a result.*wrong"):
        benchmark(folder, tmp_path / "none", methods=[methods[1]], degradations=["kspace-x2"], slices=1)


def test_what_is_refused(folder, output, found, tmp_path):
    options = {"methods": ["nearest"], "degradations": ["kspace-x2"], "slices": 1}
    with pytest.raises(UsageError, match="exists already"):
        benchmark(folder, output, **options)
    with pytest.raises(InputError, match=r"subjects p9; found p1, p2, p3"):
        benchmark(folder, tmp_path / "b", subjects=["p1", "p9"], **options)
    for names, why in (
        (["auto"], "expected one of"),
        (["cine-ldm"], "expected one of"),
        (["nearest", "nearest"], "different names"),
        (["bicubic=core"], "no use for a model"),
    ):
        with pytest.raises(UsageError, match=why):
            chosen(names)
    assert not (tmp_path / "b").exists()
    assert {"zero-filling", "nearest", "bilinear", "bicubic"} <= set(available())
    assert not any(name.startswith("cine-") or name == "auto" for name in available())


@pytest.mark.usefixtures("no_report")
def test_a_model_folder_takes_part_with_its_samples(folder, tmp_path, tiny_model_folder):
    found = benchmark(
        folder, tmp_path / "out", methods=["nearest", f"vdm={tiny_model_folder}"],
        degradations=["anisotropic"], subjects=["p1"], slices=1,
    )  # fmt: skip
    assert found.methods == ["nearest", "vdm (tiny)", "vdm (tiny), one sample"]
    assert not found.failures
    written = found.about["methods"]["vdm (tiny)"]
    config = json.loads((tiny_model_folder / "config.json").read_text())
    assert written["model"]["name"] == "tiny"
    assert (written["model"]["network"], written["sampling"]) == (
        config["network"],
        config.get("sampling", {}),
    )
    assert [found.tier(method) for method in found.methods] == [BASELINE, SAMPLED, SAMPLED]
    assert found.calibration("anisotropic", "vdm (tiny)").ratio > 0


@pytest.mark.usefixtures("no_report")
def test_the_matrix_of_the_truth_can_be_chosen(folder, tmp_path):
    found = benchmark(
        folder, tmp_path / "out", methods=["nearest"], degradations=["kspace-x2"], slices=1, matrix=(16, 14)
    )
    assert {record.case.truth.image.matrix for record in found.records} == {(16, 14)}


@pytest.fixture
def variant(tiny_model_folder, tmp_path):
    """A function that copies the tiny model to a folder, with another part of its config."""

    def made(name, **parts):
        folder = tmp_path / name
        shutil.copytree(tiny_model_folder, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | parts))
        return folder

    return made


def held_out(*names):
    return {"training": {"data": {"validation": names}}}


def test_whom_a_model_may_have_been_trained_on_is_said(folder, tmp_path, tiny_model_folder, variant):
    known = variant("known", **held_out("p1"))
    (competitor,) = chosen([f"vdm={known}"])
    there = ["p1", "p2", "p3"]
    (line,), unknown = seen_in_training([competitor], tested=["p1", "p3"], present=there)
    assert line.startswith("vdm (known): model known may have been trained on p3; ")
    assert unknown == []
    assert seen_in_training([competitor], tested=["p1"], present=there) == ([], [])
    options = {"degradations": ["kspace-x2"], "subjects": ["p2"], "slices": 1}
    with pytest.warns(UserWarning, match="may have been trained on p2"):
        benchmark(folder, tmp_path / "out", methods=[competitor], **options)
    assert "Not a test: vdm (known)" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_another_folder_whose_names_meet_is_not_called_training_data(tiny_model_folder, variant):
    some = variant("some", **held_out("p1", "sub-99"))
    competitors = chosen([f"vdm={some}", f"vdm={tiny_model_folder}", "nearest"])
    seen, unknown = seen_in_training(competitors, tested=["p1", "p3"], present=["p1", "p2", "p3"])
    assert seen == []
    assert [line.split(":")[0] for line in unknown] == ["vdm (some)", "vdm (tiny)"]
    assert "not all in the folder" in unknown[0]
    assert "names none that were held out" in unknown[1]


def test_runs_are_told_apart_by_their_folders(tmp_path, tiny_model_folder):
    for run in ("one", "two"):
        shutil.copytree(tiny_model_folder, tmp_path / run / "model")
    found = chosen([f"vdm={tmp_path / run / 'model'}" for run in ("one", "two")])
    assert [each.name for each in found] == ["vdm (one)", "vdm (two)"]


@pytest.mark.usefixtures("no_report")
def test_how_a_model_samples_is_part_of_a_case(folder, tmp_path, variant):
    options = {"degradations": ["kspace-x2"], "subjects": ["p1"], "slices": 1, "overwrite": True}
    psnr = {}
    for name, sampling in (("a", {"steps": 2, "samples": 2}), ("b", {"steps": 3, "samples": 2})):
        model = variant(f"{name}/model", sampling=sampling).rename(
            tmp_path / "model"
        )  # the same name and weights
        found = benchmark(folder, tmp_path / "out", methods=[f"vdm={model}"], **options)
        psnr[name] = found.records[0].values["psnr"][0]
        model.rename(tmp_path / f"was-{name}")
        shown = _settings(found.about["methods"][found.methods[0]])
        assert f"steps {sampling['steps']}, samples 2" in shown
    assert psnr["a"] != psnr["b"]


def test_settings_that_are_not_json_are_refused():
    with pytest.raises(UsageError, match="offset: expected settings that JSON can represent"):
        chosen([Offset(by={1, 2})])


def test_cost_is_measured():
    with metered() as cost:
        kept = np.ones(8_000_000)
    assert cost.seconds > 0
    assert math.isnan(cost.memory) or cost.memory >= 0.9 * kept.nbytes / 2**20


def test_a_method_s_own_fault_loses_neither_the_others_nor_the_report(folder, tmp_path):
    class Faulty(Offset):
        @property
        def settings(self):
            return {"model": {"depth": 5}}

        def restore(self, low, *, matrix, seed):
            if self.calls == 3:
                raise ValueError("operands could not be broadcast")
            return super().restore(low, matrix=matrix, seed=seed)

    name = r"costs $\foo$ or $5"
    found = benchmark(
        folder, tmp_path / "out", methods=["nearest", Faulty(name)], degradations=["kspace-x2"], slices=1
    )
    assert [failure.reason for failure in found.failures] == ["ValueError: operands could not be broadcast"]
    report = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "ValueError: operands could not be broadcast" in report
    assert name in report


def test_methods_are_compared_over_the_same_volumes(folder, tmp_path):
    """p3 has two volumes; one method fails on the second."""

    class Picky(Offset):
        def restore(self, low, *, matrix, seed):
            if self.calls == 3:
                raise InputError("too dark")
            return super().restore(low, matrix=matrix, seed=seed)

    methods = ["nearest", Offset("same", by=100.0), Picky("picky", by=100.0)]
    found = benchmark(folder, tmp_path / "out", methods=methods, degradations=["kspace-x2"], slices=1)
    assert found.title("kspace-x2", "same") == "same"
    assert found.title("kspace-x2", "picky") == "picky (3 of 4 volumes)"
    assert set(found.complete("kspace-x2", "psnr", ["same", "picky"])) == {"same"}
    difference = found.difference("kspace-x2", "picky", "same", "psnr")
    assert (difference.mean, difference.low, difference.high) == (0, 0, 0)


@pytest.mark.parametrize("name", ["results.csv", "results.json", "poster.md"])
def test_files_of_ours_or_not_are_not_replaced(folder, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=f"{name}: exists already"):
        benchmark(folder, tmp_path, methods=["nearest"], degradations=["kspace-x2"], slices=1)
    assert (tmp_path / name).read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.usefixtures("no_report")
def test_names_of_old_disks_are_legible(folder, tmp_path):
    for letter in (b"\xf6", b"\xfc"):
        shutil.copy(folder / "p1_a.nii.gz", os.fsencode(tmp_path) + b"/M" + letter + b"ller_a.nii.gz")
    found = benchmark(tmp_path, tmp_path / "out", methods=["nearest"], degradations=["kspace-x2"], slices=1)
    assert found.subjects == [r"M\xf6ller", r"M\xfcller"]
    assert r"M\xfcller" in (tmp_path / "out" / "results.csv").read_text("utf-8")


def test_a_method_is_known_by_its_code_and_what_it_imports(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "its_helper.py").write_text("BY = 1\n")
    (tmp_path / "its_base.py").write_text("class Base:\n    pass\n")
    (tmp_path / "its_method.py").write_text(
        "import its_helper\nfrom its_base import Base\n\n\nclass Own(Base):\n    pass\n"
    )
    own = importlib.import_module("its_method").Own()
    before = code_of(own)
    assert before == code_of(own)
    for changed in ("its_helper.py", "its_base.py", "its_method.py"):
        with (tmp_path / changed).open("a") as file:
            file.write("# other\n")
        assert code_of(own) != before
        before = code_of(own)


def test_long_names_are_cut_and_told_apart():
    one, other = (_file_name("超" * 120 + end) for end in "ab")
    assert one != other
    assert len(one.encode()) < 140
    assert _file_name("sub-01") == "sub-01"
