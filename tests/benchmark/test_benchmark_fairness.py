"""Comparisons over the same patients only, chance, and methods that fail on some patients."""

import contextlib
import json
import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kfine.benchmark import benchmark
from kfine.benchmark.cases import metered
from kfine.benchmark.competitors import chosen
from kfine.benchmark.degradations import DEGRADATIONS
from kfine.benchmark.report.tables import poster
from kfine.benchmark.results import BASELINE, SAMPLED, SINGLE, Record, Results, wins
from kfine.benchmark.writing import markdown, poster_rows
from kfine.errors import InputError, ResourceError, UsageError
from tests.benchmark.conftest import Offset

X2 = DEGRADATIONS["kspace-x2"]


def results(kinds, psnr, *, calibrated=()):
    """Return results of one slice a patient with `psnr` by method and patient only."""
    subjects = sorted({who for values in psnr.values() for who in values})
    records = [
        Record(
            case=SimpleNamespace(
                degradation=X2,
                competitor=SimpleNamespace(name=method.removesuffix(", one sample"), kind=kinds.get(method)),
                truth=SimpleNamespace(subject=who, name=who),
            ),
            label=method,
            variant=int(method.endswith("sample")),
            values={"psnr": np.array([value])} | dict.fromkeys(OTHERS, np.array([np.nan])),
            rings=np.zeros((1, 2, 3)),
            calibration=object() if method in calibrated else None,
            seconds=1.0,
            memory=1.0,
            machine="",
        )
        for method, values in psnr.items()
        for who, value in values.items()
    ]
    return Results({"subjects": subjects, "volumes": subjects}, (X2,), tuple(records))


OTHERS = ("ssim", "ms_ssim", "nrmse", "laplacian_off", "fft_off")
KINDS = {"simple": "baseline", "other": "baseline", "network": "single"}


def test_a_gain_that_no_table_shows_is_no_defeat():
    truth = {"a": 30.0, "b": 31.0, "c": 32.0}
    close = {who: value - 1e-13 for who, value in truth.items()}
    found, compared = wins(results(KINDS, {"simple": truth, "network": close}))
    assert (found, compared) == ([], 1)
    visible = {who: value - 0.006 for who, value in truth.items()}
    (win,), compared = wins(results(KINDS, {"simple": truth, "network": visible}))
    assert (win.simpler, compared) == ("simple", 1)
    assert win.gain.excludes_zero


def test_a_method_without_the_hard_patient_is_not_the_best():
    every, easy = {"a": 40.0, "b": 20.0}, {"a": 39.0}
    found = results(KINDS, {"simple": every, "other": easy, "network": {"a": 39.5, "b": 19.5}})
    assert found.estimate(X2.name, "other", "psnr").mean > found.estimate(X2.name, "simple", "psnr").mean
    assert found.best(X2.name, "psnr", found.baselines) == "simple"
    assert found.title(X2.name, "other") == "other (1 of 2 patients)"
    assert found.title(X2.name, "simple") == "simple"
    assert [win.simpler for win in wins(found)[0]] == ["simple"]
    apart = results(KINDS, {"simple": {"a": 1.0}, "other": {"b": 2.0}})
    assert apart.best(X2.name, "psnr", apart.baselines) is None


def test_nothing_is_compared_without_a_pair():
    assert wins(results(KINDS, {"simple": {"a": 1.0}, "network": {"b": 2.0}})) == ([], 0)
    assert wins(results(KINDS, {"simple": {"a": 1.0}})) == ([], 0)


def test_how_much_a_method_does_is_what_it_says_or_gives():
    one = {"a": 1.0}
    labels = ("simple", "spread", "draws", "draws, one sample", "network")
    found = results(KINDS, dict.fromkeys(labels, one), calibrated=["spread", "draws"])
    assert [found.tier(label) for label in labels] == [BASELINE, SINGLE, SAMPLED, SAMPLED, SINGLE]


def test_an_unknown_kind_is_refused():
    class Odd(Offset):
        kind = "magic"

    with pytest.raises(
        UsageError, match=r"offset: expected a kind of baseline, single, sampled, got 'magic'"
    ):
        chosen([Odd()])


class Picky(Offset):
    """A baseline that fails on the first patient, and at scales above 2."""

    kind = "baseline"

    def restore(self, low, *, matrix, seed):
        if not self.calls or 4 * low.matrix[0] == matrix[0]:
            self.calls += 1
            raise InputError("too hard")
        return super().restore(low, matrix=matrix, seed=seed)


@pytest.fixture(scope="module")
def picky(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("picky") / "out"
    whole = Picky("whole", calls=1)
    found = benchmark(
        folder, output, methods=[Picky("picky"), whole], degradations=["kspace-x2", "kspace-x4"], slices=1
    )
    return found, output


def test_a_degradation_that_defeats_everybody_does_not_lose_the_report(picky):
    found, output = picky
    report = (output / "report.html").read_text("utf-8")
    assert report.count("No method gave a result; the reasons are listed below.") == 1
    assert "No method gave a result." in (output / "poster.md").read_text("utf-8")
    assert poster_rows(found, "kspace-x4") == []
    assert "No comparison" in report  # baselines alone


def test_who_fails_on_a_patient_is_named_so_and_held_against_its_own(picky):
    found, output = picky
    report = (output / "report.html").read_text("utf-8")
    assert "picky (2 of 3 patients)" in report
    rows = {row.name: row for row in poster_rows(found, "kspace-x2")}
    row, whole, reference = (rows[n] for n in ("picky (2 of 3 patients)", "whole", "reference"))
    assert row.truth["laplacian"] == found.estimate("kspace-x2", "picky", "laplacian_truth").mean
    assert row.truth["laplacian"] != whole.truth["laplacian"] == reference.truth["laplacian"]
    assert reference.values[0] == reference.truth["laplacian"]
    percent = 100 * (row.values[0] / row.truth["laplacian"] - 1)
    assert f"({percent:+.1f} %)" in markdown(found, "kspace-x2")
    shown = [cell.below for group in poster(found, X2).groups for row in group for cell in row]
    assert f"{percent:+.1f} %".replace("-", "−") in shown


def test_one_sample_is_not_told_the_time_of_all(picky):
    found, output = picky
    (mean, sample) = (found.cost("kspace-x2", name) for name in ("whole", "whole, one sample"))
    assert mean[0] > 0
    assert np.isnan(sample[0])
    rows = [line for line in (output / "results.csv").read_text().splitlines() if "one sample" in line]
    assert rows
    assert all(line.endswith(",,") for line in rows)


class Exhausting(Offset):
    """Runs out of memory."""

    def restore(self, low, *, matrix, seed):
        self.calls += 1
        raise MemoryError if self.calls % 2 else torch.OutOfMemoryError("CUDA out of memory")


class Noisy(Offset):
    """A method with a warning."""

    def restore(self, low, *, matrix, seed):
        warnings.warn("outside what it was trained on", UserWarning, stacklevel=1)
        return super().restore(low, matrix=matrix, seed=seed)


def test_one_method_without_memory_does_not_lose_the_others_and_notes_are_kept(folder, tmp_path):
    methods = [Exhausting("hungry"), Noisy("warns")]
    call = {"degradations": ["kspace-x2"], "slices": 1, "subjects": ["p1", "p2"], "overwrite": True}
    for _ in range(2):  # the second time from saved cases
        with contextlib.ExitStack() as stack:
            if not methods[1].calls:
                stack.enter_context(pytest.warns(UserWarning, match="outside what it was trained on"))
            found = benchmark(folder, tmp_path / "out", methods=methods, **call)
        assert [failure.reason for failure in found.failures] == ["not enough memory"] * 2
        assert found.records[0].notes == ("outside what it was trained on",)
        results = json.loads((tmp_path / "out" / "results.json").read_text())
        assert results["volumes"][0]["notes"] == ["outside what it was trained on"]
        curve = results["summary"]["kspace-x2"]["methods"]["warns"]["calibration"]
        assert len(curve["error_of_range"]) == len(curve["standard_deviation_of_range"]) > 0
        report = (tmp_path / "out" / "report.html").read_text("utf-8")
        assert "warns, kspace-x2: outside what it was trained on (2 volumes)" in report
        assert "Below the truth: standard deviation of warns." in report
    assert methods[1].calls == 2


def test_a_full_disk_is_no_fault_of_a_method(folder, tmp_path, monkeypatch):
    def full(*arguments):
        raise ResourceError("no space left")

    monkeypatch.setattr("kfine.restoration.streaming.ResumeStore.save", full)
    with pytest.raises(ResourceError, match="no space left"):
        benchmark(
            folder,
            tmp_path / "out",
            methods=["nearest"],
            degradations=["kspace-x2"],
            slices=1,
            subjects=["p1"],
        )


def test_memory_of_a_gpu_is_what_was_taken_on_top(monkeypatch):
    gpu = {"is_available": True, "memory_allocated": 700 * 2**20, "max_memory_allocated": 712 * 2**20}
    for name, value in (gpu | {"reset_peak_memory_stats": None, "synchronize": None}).items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    with metered() as cost:
        pass
    assert cost.memory == 12


def test_one_patient_tells_of_nobody_else(folder, tmp_path):
    benchmark(
        folder, tmp_path / "out", methods=["zero-filling", Offset()], degradations=["kspace-x2"], slices=1,
        subjects=["p1"],
    )  # fmt: skip
    report = (tmp_path / "out" / "report.html").read_text("utf-8")
    lead = re.search(r'<p class="lead">(.*?)</p>', report)[1]
    assert re.match(r"In \d+ of \d+ comparisons a simpler method is better than one that does more\.", lead)
    assert lead.endswith("One patient: no intervals; the result says nothing about other patients.")
