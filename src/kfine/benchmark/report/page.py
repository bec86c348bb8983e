"""The whole page, from the header to what was held fixed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from kfine.benchmark.report import html, pictures, plots, tables
from kfine.benchmark.results import Results
from kfine.benchmark.scoring import BY_KEY, METRICS
from kfine.benchmark.statistics import LEVEL, RESAMPLES
from kfine.benchmark.verdicts import wins

_SECTIONS = {
    "short": "Where a simpler method is better",
    "gains": "Gains over the best baseline",
    "degradations": "Degradation by degradation",
    "frequencies": "Which detail is real",
    "uncertainty": "Does the uncertainty tell the error?",
    "sharpness": "Sharpness, as on the poster",
    "fixed": "What was held fixed",
}


def page(results: Results) -> str:
    """Return the report as one HTML page that loads nothing."""
    style = files("kfine.benchmark.report").joinpath("style.css").read_text("utf-8")
    title = f"Super-resolution benchmark: {results.about['folder']}"
    bodies = {
        "short": _short(results),
        "gains": "".join(_gains(results)),
        "degradations": "".join(_degradations(results)),
        "frequencies": _frequencies(results),
        "uncertainty": _uncertainty(results),
        "sharpness": _sharpness(results),
        "fixed": _fixed(results),
    }
    kept = {key: body for key, body in bodies.items() if body}
    links = "".join(f'<a href="#{key}">{html.text(_SECTIONS[key])}</a>' for key in kept)
    sections = "".join(
        f'<section id="{key}">\n{html.heading(_SECTIONS[key])}{body}</section>\n'
        for key, body in kept.items()
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.text(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n<header>\n{html.heading(title, level=1)}"
        f"{html.paragraph(_extent(results), kind='soft')}<nav>{links}</nav>\n</header>\n<main>\n{sections}</main>\n"
        "<footer>Made by kfine benchmark; every figure stands in results.csv and results.json beside this page. "
        "Research software, not a medical device.</footer>\n</body>\n</html>\n"
    )


def _extent(results: Results) -> str:
    about = results.about
    slices = sum(len(volume["slices"]) for volume in about["volumes"])
    return (
        f"{tables.counted(len(about['subjects']), 'patient')}, {tables.counted(slices, 'slice')}, "
        f"{tables.counted(len(results.degradations), 'degradation')}, "
        f"{tables.counted(len(about['methods']), 'method')}. {about['machine']}."
    )


def _short(results: Results) -> str:
    found = sorted(wins(results), key=lambda win: not win.gain.sure)
    many = len(results.about["subjects"])
    few = (
        f" With {tables.counted(many, 'patient')} an interval says how much these differ, not what others will show."
        if many < 10
        else ""
    )
    if not found:
        return html.paragraph(
            "Nowhere: in no image metric and no distance of sharpness did a method do better on average than one that does more."
            + few
        )
    lead = (
        f"In {tables.counted(len(found), 'comparison')} a simpler method is better on average than one that does more; in "
        f"{sum(win.gain.sure for win in found)} of them the interval leaves out 0.{few}"
    )
    return html.paragraph(lead, kind="lead") + tables.defeats(results, found)


def _gains(results: Results) -> Iterator[str]:
    if not results.baselines or len(results.methods) < 2:
        return
    for metric in ("psnr", "ssim"):
        title = BY_KEY[metric].title
        yield html.figure(
            plots.gains(results, metric),
            kind="svg",
            alt=f"{title}: difference of each method to the best baseline",
            caption=f"{title} inside the body: difference to the best method without training, within patients, mean and "
            f"{100 * LEVEL:.0f} % bootstrap interval. Right of the line is better. Hollow: one sample in the place of the mean.",
        )


def _degradations(results: Results) -> Iterator[str]:
    truth = pictures.median_truth(results)
    number = truth.numbers[truth.middle]
    yield html.paragraph(
        f"The pictures show patient {truth.subject}, slice {number}: of the patients the one in the middle by PSNR, of "
        "its slices the one in the middle; neither was chosen by eye.",
        kind="soft",
    )
    for degradation in results.degradations:
        yield html.heading(degradation.title, level=3)
        yield tables.scores(results, degradation)
        drawn = pictures.picture(results, degradation, truth)
        if drawn is not None:
            yield html.figure(
                drawn,
                kind="png",
                alt=f"{degradation.title}: images, detail and errors of patient {truth.subject}",
                caption=f"{degradation.title}: image, the outlined detail enlarged, absolute error; every voxel as the rectangle "
                "that it is. PSNR and SSIM of this slice inside the body. Below the truth, where a method has one: "
                "its standard deviation.",
            )


def _frequencies(results: Results) -> str:
    return html.figure(
        plots.correlations(results),
        kind="svg",
        alt="Fourier ring correlation of each method",
        caption="Fourier ring correlation with the truth, mean over patients: 1 where the detail is the truth's, 0 where it has nothing "
        "to do with it. Vertical lines: the border of what was measured, in each direction. Dashed level: 0.5, where "
        "“resolved” in the tables is read off. Curves of nearest and bilinear are left out.",
    ) + html.figure(
        plots.ring_errors(results),
        kind="svg",
        alt="Relative error of each method in each ring of k-space",
        caption="Error of each ring of k-space over the truth's own energy there. Dashed level: 1 is what leaving the ring empty costs; "
        "above it, what a method adds does more harm than good. Random detail as strong as the truth's lies at 1.41.",
    )


def _uncertainty(results: Results) -> str:
    drawn = plots.calibrations(results)
    if drawn is None:
        return ""
    return html.figure(
        drawn,
        kind="svg",
        alt="Error against standard deviation",
        caption="Voxels inside the body sorted by the standard deviation that a method gives them, against the error of its mean "
        "image: root mean squares of each bin, % of the data range. On the line the uncertainty is right; above it, too small. "
        "Spread / error: the ratio over all voxels.",
    )


def _sharpness(results: Results) -> str:
    return "".join(tables.poster(results, degradation) for degradation in results.degradations)


def _fixed(results: Results) -> str:
    about = results.about
    pairs = [
        ("Truth", f"{about['folder']}: slices spread evenly over the middle 80 % of those with tissue, frame 0; matrix {_matrix(about)}"),
        ("Measurement", "the centre of k-space (a real image's Fourier transform stands in for it), or antialiased bicubic shrinking on "
         "the same grid; nobody is told which, nor how much noise there is"),
        ("Methods", "their own settings, none tuned here; restored slices of a volume together; bicubic and zero filling on the same grid"),
        ("Statistics", f"mean over a patient's slices, then over patients; percentile bootstrap over patients, {RESAMPLES} draws; "
         "best baseline: the best mean of those without training, chosen in each metric"),
        ("Time", "wall clock of the restoration; median over volumes; memory: what it took above the memory before, the most of all volumes"),
        ("Seed", f"{about['seed']}; each volume has its own, made of it and the voxels"),
        ("Software", ", ".join(f"{name} {version}" for name, version in about["software"].items())),
        *((f"Method {name}", _settings(settings)) for name, settings in about["methods"].items()),
        *((f"Patient {volume['subject']}", _volume(volume)) for volume in about["volumes"]),
    ]  # fmt: skip
    meanings = [(metric.title, metric.meaning) for metric in METRICS]
    body = html.facts(pairs) + html.heading("Metrics", level=3) + html.facts(meanings)
    lines = [
        *results.notes,
        *(f"{f.method}, {f.degradation}, {f.subject}: {f.reason}" for f in results.failures),
    ]
    return body + (html.heading("What is missing", level=3) + html.items(lines) if lines else "")


def _matrix(about: dict[str, Any]) -> str:
    return about["matrix"] if isinstance(about["matrix"], str) else "×".join(map(str, about["matrix"]))


def _settings(settings: dict[str, Any]) -> str:
    model = settings.get("model")
    shown = {key: value for key, value in settings.items() if key != "model"}
    if model:
        shown["model"] = (
            f"{model['name']}, SHA-256 {model['sha256'][:12]}…" if isinstance(model, dict) else model
        )
    return ", ".join(f"{key} {value}" for key, value in shown.items()) or "none"


def _volume(volume: dict[str, Any]) -> str:
    matrix, size = ("×".join(f"{n:g}" for n in volume[key]) for key in ("matrix", "voxel_mm"))
    slices = ", ".join(map(str, volume["slices"]))
    return (
        f"{volume['name']}, slices {slices}, matrix {matrix}, {size} mm, data range {volume['data_range']:.5g}, "
        f"k-space {volume['kspace']}"
    )
