"""Page of the report, from the header to the fixed settings, and its texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from kfine.benchmark.report import plots, tables
from kfine.benchmark.report.tables import Block, Facts, Heading, Items, Paragraph, Picture, counted
from kfine.benchmark.results import LEVEL, MISSES, RESAMPLES, Results, wins
from kfine.benchmark.scoring import BY_KEY, METRICS
from kfine.viz.sheet import unsure_words

if TYPE_CHECKING:
    from jinja2 import Environment

_MANY = 10  # patients that an interval needs to say something about other patients
_SECTIONS = {
    "short": "Where a simpler method is better",
    "gains": "Gains over the best baseline",
    "degradations": "Degradation by degradation",
    "frequencies": "Which detail is real",
    "uncertainty": "Uncertainty against error",
    "sharpness": "Sharpness, as on the poster",
    "fixed": "Fixed settings",
}
_NO_COMPARISON = "No comparison: no method has results for the same patients as a simpler one."
_NOWHERE = (
    "In none of {compared} is a simpler method visibly better on average than one that does more, in the image metrics "
    "and the distances of sharpness."
)
_ONE = " One patient: no intervals; the result says nothing about other patients."
_FEW = " With {patients} an interval describes how much these differ; it does not predict other patients."
_TOO_FEW = (
    " The bootstrap intervals in tables and plots are too narrow for {patients}: with normal values they miss the true "
    "mean in about {missed} % of cases instead of 5 %. The paired t interval decides whether a difference excludes 0; "
    "for two methods chosen beforehand it misses in 5 % of such cases, for any number of patients."
)
_DEFEATS = (
    "In {count} of {compared} a simpler method is better on average than one that does more; in {sure} of them the "
    "95 % t interval of the difference excludes 0."
)
_DEFEATS_ONE = "In {count} of {compared} a simpler method is better than one that does more."
_NO_RESULT = "No method gave a result; the reasons are listed below."
_GAINS = (
    "{title} inside the body: difference to the best method without training, within patients, mean and "
    f"{100 * LEVEL:.0f} % bootstrap interval. Right of the line is better. Hollow: one sample instead of the mean. "
    "Nearest neighbour and bilinear are not drawn."
)
_WHO = (
    "The pictures show patient {subject}, slice {number}: the patient with the median PSNR, and the middle slice; "
    "neither was chosen by eye."
)
_PICTURE = (
    "{title}: image, enlarged outlined detail, absolute error; voxels are drawn as rectangles, without interpolation. "
    "PSNR and SSIM of this slice inside the body."
)
_SPREAD = " Below the truth: standard deviation of {method}."
_INTERVAL = " Below the truth: half the width of the 90 % interval of {method}, the unsure voxels outlined ({unsure})."
_CORRELATION = (
    "Fourier ring correlation with the truth, mean over patients: 1 for the detail of the truth, 0 for unrelated "
    "detail. Vertical lines: the edges of the measured k-space in each direction. Dashed level: 0.5, the threshold of "
    "“resolved” in the tables, slice by slice. Nearest neighbour and bilinear are not drawn."
)
_RING_ERROR = (
    "Error of each ring of k-space over the energy of the truth there. Dashed level: 1 is the error of an empty ring; "
    "above it, the added detail does more harm than good. Random detail as strong as that of the truth is at 1.41."
)
_CALIBRATION = (
    "Error of the mean image against the standard deviation stated by a method, for voxels inside the body binned by "
    "the standard deviation: root mean squares of each bin, % of the data range. On the line the uncertainty is right; "
    "above it, too small. Spread / error: the ratio over all voxels."
)
_FOOT = (
    "Made by kfine benchmark; all figures are in results.csv and results.json beside this page. Research software, "
    "not a medical device."
)
_FIXED = (
    (
        "Truth",
        "slices spread evenly over the middle 80 % of the slices with tissue, frame 0 of a cine",
    ),
    (
        "Measurement",
        "the centre of k-space (for a real image, of its Fourier transform), or antialiased bicubic shrinking on the "
        "same grid; methods get neither the name of the degradation nor the noise level",
    ),
    (
        "Methods",
        "default settings, none tuned here; the slices of a volume are restored together",
    ),
    (
        "Statistics",
        f"mean over a patient's slices, then over patients; intervals: percentile bootstrap over patients, {RESAMPLES} "
        "draws; whether a difference excludes 0: paired t interval (Student 1908), exact for normal differences; best "
        "baseline: the best mean of the methods without training that have results of all patients, chosen for each "
        "metric and degradation",
    ),
    (
        "Cost",
        "wall-clock time of the restoration, median over volumes; additional peak memory of the restoration, maximum "
        "over volumes",
    ),
)


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    key: str
    blocks: list[Block]

    @property
    def title(self) -> str:
        """Heading."""
        return _SECTIONS[self.key]


def page(results: Results) -> str:
    """Return the report as one self-contained HTML page."""
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
        foot=_FOOT,
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
        yield Paragraph(_NO_COMPARISON, "lead")
        return
    patients = len(results.subjects)
    comparisons = counted(compared, "comparison")
    if not found:
        yield Paragraph(_NOWHERE.format(compared=comparisons) + _chance(patients), "lead")
        return
    text = _DEFEATS if patients > 1 else _DEFEATS_ONE
    sure = sum(win.gain.excludes_zero for win in found)
    lead = text.format(count=len(found), compared=comparisons, sure=sure)
    yield Paragraph(lead + _chance(patients), "lead")
    yield tables.defeats(results, found)


def _chance(patients: int) -> str:
    """Return a remark on what so few patients say about others, or ""."""
    if patients < 2:
        return _ONE
    number = counted(patients, "patient")
    few = _FEW.format(patients=number) if patients < _MANY else ""
    missed = MISSES.get(patients)
    return few if missed is None else few + _TOO_FEW.format(patients=number, missed=f"{100 * missed:.0f}")


def _gains(results: Results) -> Iterator[Block]:
    if not results.baselines or len(results.methods) < 2:
        return
    for metric in ("psnr", "ssim"):
        title = BY_KEY[metric].title
        yield Picture(
            plots.gains(results, metric),
            form="svg",
            alt=f"{title}: difference of each method to the best baseline",
            caption=_GAINS.format(title=title),
        )


def _degradations(results: Results) -> Iterator[Block]:
    truth = plots.median_truth(results)
    who = _WHO.format(subject=truth.subject, number=truth.numbers[truth.middle])
    yield Paragraph(who, "soft")
    for degradation in results.degradations:
        yield Heading(degradation.title)
        if not results.there(degradation.name):
            yield Paragraph(_NO_RESULT)
            continue
        yield tables.scores(results, degradation)
        drawn = plots.picture(results, degradation, truth)
        if drawn is not None:
            yield Picture(
                drawn.png,
                form="png",
                alt=f"{degradation.title}: images, detail and errors of patient {truth.subject}",
                caption=_PICTURE.format(title=degradation.title) + _spread_words(drawn),
            )


def _spread_words(drawn: plots.Drawn) -> str:
    """Return the caption of the panel below the truth."""
    if drawn.spread_of is None:
        return ""
    sentence = _INTERVAL if drawn.interval else _SPREAD
    return sentence.format(method=drawn.spread_of, unsure=unsure_words())


def _frequencies(results: Results) -> list[Block]:
    drawn = plots.correlations(results), plots.ring_errors(results)
    alts = "Fourier ring correlation of each method", "Error of each method in each ring of k-space"
    captions = _CORRELATION, _RING_ERROR
    return [
        Picture(picture, form="svg", alt=alt, caption=caption)
        for picture, alt, caption in zip(drawn, alts, captions, strict=True)
    ]


def _uncertainty(results: Results) -> list[Block]:
    drawn = plots.calibrations(results)
    if drawn is None:
        return []
    return [Picture(drawn, form="svg", alt="Error against standard deviation", caption=_CALIBRATION)]


def _fixed(results: Results) -> list[Block]:
    about = results.about
    pairs = [
        *_FIXED,
        ("Matrix", about["matrix"] if isinstance(about["matrix"], str) else _times(about["matrix"])),
        ("Seed", f"{about['seed']}; each volume has its own, made of it and the voxels"),
        ("Software", ", ".join(f"{name} {version}" for name, version in about["software"].items())),
        *((f"Method {name}", _settings(settings)) for name, settings in about["methods"].items()),
        *((f"Patient {volume['subject']}", _volume(volume)) for volume in about["volumes"]),
    ]
    metrics = Facts([(metric.title, metric.meaning) for metric in METRICS])
    failed = [f"{f.method}, {f.degradation}, {f.subject}: {f.reason}" for f in results.failures]
    notes = Counter(
        f"{record.label}, {record.case.degradation.name}: {note}"
        for record in results.records
        for note in record.notes
    )
    noted = [f"{note} ({counted(times, 'volume')})" for note, times in notes.items()]
    lines = [*results.notes, *failed, *noted]
    missing: list[Block] = [Heading("What is missing or not known"), Items(lines)] if lines else []
    return [Facts(pairs), Heading("Metrics"), metrics, *missing]


def _settings(settings: dict[str, Any]) -> str:
    listed = dict(settings)
    if isinstance(listed.get("model"), dict) and {"name", "sha256"} <= listed["model"].keys():
        listed["model"] = f"{listed['model']['name']}, SHA-256 {listed['model']['sha256'][:12]}…"
    if isinstance(listed.get("sampling"), dict):
        sampling = listed.pop("sampling")
        listed |= {
            key.replace("_", " "): value for key, value in sampling.items() if not isinstance(value, list)
        }
    return ", ".join(f"{key} {value}" for key, value in listed.items() if value is not None) or "none"


def _volume(volume: dict[str, Any]) -> str:
    slices = ", ".join(map(str, volume["slices"]))
    return (
        f"{volume['name']}, slices {slices}, matrix {_times(volume['matrix'])}, {_times(volume['voxel_mm'])} mm, "
        f"data range {volume['data_range']:.5g}, k-space {volume['kspace']}"
    )


def _times(numbers: list[float]) -> str:
    return " × ".join(f"{number:g}" for number in numbers)


def render(**values: Any) -> str:
    """Return the page of the template."""
    return _environment().get_template("page.html.j2").render(**values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = files("kfine.benchmark.report")
    loader = FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8"))
    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
