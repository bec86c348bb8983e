"""Report page, from the header to the fixed settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from kfine.benchmark.report import pictures, plots, tables, words
from kfine.benchmark.report.blocks import Block, Facts, Heading, Items, Paragraph, Picture, render
from kfine.benchmark.report.tables import counted
from kfine.benchmark.results import Results, wins
from kfine.benchmark.scoring import BY_KEY, METRICS
from kfine.benchmark.statistics import MISSES
from kfine.viz.sheet import unsure_words

_MANY = 10  # patients from which on an interval tells of others
_SECTIONS = {
    "short": "Where a simpler method is better",
    "gains": "Gains over the best baseline",
    "degradations": "Degradation by degradation",
    "frequencies": "Which detail is real",
    "uncertainty": "Does the uncertainty tell the error?",
    "sharpness": "Sharpness, as on the poster",
    "fixed": "What was held fixed",
}


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    key: str
    blocks: list[Block]

    @property
    def title(self) -> str:
        """Its heading."""
        return _SECTIONS[self.key]


def page(results: Results) -> str:
    """Return the report as one HTML page that loads nothing."""
    sections = [
        Section("short", _short(results)),
        Section("gains", [*_gains(results)]),
        Section("degradations", [*_degradations(results)]),
        Section("frequencies", _frequencies(results)),
        Section("uncertainty", _uncertainty(results)),
        Section(
            "sharpness",
            [tables.poster(results, each) for each in results.degradations if results.there(each.name)],
        ),
        Section("fixed", _fixed(results)),
    ]
    return render(
        title=f"Super-resolution benchmark: {results.about['folder']}",
        style=files("kfine.benchmark.report").joinpath("style.css").read_text("utf-8"),
        extent=_extent(results),
        sections=[section for section in sections if section.blocks],
        foot=words.FOOT,
    )


def _extent(results: Results) -> str:
    about = results.about
    slices = sum(len(volume["slices"]) for volume in about["volumes"])
    return (
        f"{counted(len(about['subjects']), 'patient')}, {counted(slices, 'slice')}, "
        f"{counted(len(results.degradations), 'degradation')}, {counted(len(about['methods']), 'method')}. "
        f"{about['machine']}."
    )


def _short(results: Results) -> list[Block]:
    warned = [Paragraph(f"Not a test: {line}.", "warning") for line in results.warnings]
    return [*warned, *_defeats(results)]


def _defeats(results: Results) -> Iterator[Block]:
    found, compared = wins(results)
    if not compared:
        yield Paragraph(words.NO_COMPARISON, "lead")
        return
    patients = len(results.subjects)
    comparisons = counted(compared, "comparison")
    if not found:
        yield Paragraph(words.NOWHERE.format(compared=comparisons) + _chance(patients), "lead")
        return
    text = words.DEFEATS if patients > 1 else words.DEFEATS_ONE
    sure = sum(win.gain.excludes_zero for win in found)
    lead = text.format(count=len(found), compared=comparisons, sure=sure)
    yield Paragraph(lead + _chance(patients), "lead")
    yield tables.defeats(results, found)


def _chance(patients: int) -> str:
    """Return what so few patients tell of others."""
    if patients < 2:
        return words.ONE
    shown = counted(patients, "patient")
    few = words.FEW.format(patients=shown) if patients < _MANY else ""
    missed = MISSES.get(patients)
    return few if missed is None else few + words.TOO_FEW.format(patients=shown, missed=f"{100 * missed:.0f}")


def _gains(results: Results) -> Iterator[Block]:
    if not results.baselines or len(results.methods) < 2:
        return
    for metric in ("psnr", "ssim"):
        title = BY_KEY[metric].title
        yield Picture(
            plots.gains(results, metric),
            form="svg",
            alt=f"{title}: difference of each method to the best baseline",
            caption=words.GAINS.format(title=title),
        )


def _degradations(results: Results) -> Iterator[Block]:
    truth = pictures.median_truth(results)
    who = words.WHO.format(subject=truth.subject, number=truth.numbers[truth.middle])
    yield Paragraph(who, "soft")
    for degradation in results.degradations:
        yield Heading(degradation.title)
        if not results.there(degradation.name):
            yield Paragraph(words.NO_RESULT)
            continue
        yield tables.scores(results, degradation)
        drawn = pictures.picture(results, degradation, truth)
        if drawn is not None:
            yield Picture(
                drawn.png,
                form="png",
                alt=f"{degradation.title}: images, detail and errors of patient {truth.subject}",
                caption=words.PICTURE.format(title=degradation.title) + _spread_words(drawn),
            )


def _spread_words(drawn: pictures.Drawn) -> str:
    """Return the caption of the panel below the truth."""
    if drawn.spread_of is None:
        return ""
    sentence = words.INTERVAL if drawn.interval else words.SPREAD
    return sentence.format(method=drawn.spread_of, unsure=unsure_words())


def _frequencies(results: Results) -> list[Block]:
    drawn = plots.correlations(results), plots.ring_errors(results)
    alts = "Fourier ring correlation of each method", "Error of each method in each ring of k-space"
    captions = words.CORRELATION, words.RING_ERROR
    return [
        Picture(picture, form="svg", alt=alt, caption=caption)
        for picture, alt, caption in zip(drawn, alts, captions, strict=True)
    ]


def _uncertainty(results: Results) -> list[Block]:
    drawn = plots.calibrations(results)
    if drawn is None:
        return []
    return [Picture(drawn, form="svg", alt="Error against standard deviation", caption=words.CALIBRATION)]


def _fixed(results: Results) -> list[Block]:
    about = results.about
    pairs = [
        *words.FIXED,
        ("Matrix", about["matrix"] if isinstance(about["matrix"], str) else _times(about["matrix"])),
        ("Seed", f"{about['seed']}; each volume has its own, made of it and the voxels"),
        ("Software", ", ".join(f"{name} {version}" for name, version in about["software"].items())),
        *((f"Method {name}", _settings(settings)) for name, settings in about["methods"].items()),
        *((f"Patient {volume['subject']}", _volume(volume)) for volume in about["volumes"]),
    ]
    metrics = Facts([(metric.title, metric.meaning) for metric in METRICS])
    failed = [f"{f.method}, {f.degradation}, {f.subject}: {f.reason}" for f in results.failures]
    said = Counter(
        f"{record.label}, {record.case.degradation.name}: {note}"
        for record in results.records
        for note in record.notes
    )
    noted = [f"{note} ({counted(times, 'volume')})" for note, times in said.items()]
    lines = [*results.notes, *failed, *noted]
    missing: list[Block] = [Heading("What is missing or not known"), Items(lines)] if lines else []
    return [Facts(pairs), Heading("Metrics"), metrics, *missing]


def _settings(settings: dict[str, Any]) -> str:
    shown = dict(settings)
    if isinstance(shown.get("model"), dict) and {"name", "sha256"} <= shown["model"].keys():
        shown["model"] = f"{shown['model']['name']}, SHA-256 {shown['model']['sha256'][:12]}…"
    if isinstance(shown.get("sampling"), dict):
        sampling = shown.pop("sampling")
        shown |= {
            key.replace("_", " "): value for key, value in sampling.items() if not isinstance(value, list)
        }
    return ", ".join(f"{key} {value}" for key, value in shown.items() if value is not None) or "none"


def _volume(volume: dict[str, Any]) -> str:
    slices = ", ".join(map(str, volume["slices"]))
    return (
        f"{volume['name']}, slices {slices}, matrix {_times(volume['matrix'])}, {_times(volume['voxel_mm'])} mm, "
        f"data range {volume['data_range']:.5g}, k-space {volume['kspace']}"
    )


def _times(numbers: list[float]) -> str:
    return " × ".join(f"{number:g}" for number in numbers)
