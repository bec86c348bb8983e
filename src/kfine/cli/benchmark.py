"""kfine benchmark: comparison of methods on the subjects of a folder, with a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kfine.cli import parsers
from kfine.cli.console import err, plain_warnings, progress, say
from kfine.cli.parameters import FLAG, MACHINE, MODEL, OUTPUT, Overwrite, Quiet
from kfine.errors import SOME_FAILED
from kfine.files.staging import made_folder
from kfine.text import literal


def benchmark(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Folder with NIfTI files or DICOM folders, one or more per subject: the true images.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            rich_help_panel=OUTPUT,
            help="Folder for results.csv, results.json, poster.md (tables of sharpness) and report.html; created if "
            "needed.  Finished cases are stored in DIR/cases: after an interruption the same command continues there.",
        ),
    ],
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME[=MODEL]",
            rich_help_panel=MODEL,
            help="A method of kfine restore, with the packaged model or model folder MODEL; repeat it for several.  "
            "All available methods if left out.",
        ),
    ] = None,
    degradations: Annotated[
        list[str] | None,
        typer.Option(
            "--degradation",
            metavar="NAME",
            help="kspace-x2, kspace-x4, anisotropic (rows x2, columns x4), filtered-x2, noisy-x2, bicubic-x2, "
            "bicubic-x4, signed-x2 or signed-x4; repeat it for several.  All if left out.",
        ),
    ] = None,
    subjects: Annotated[
        list[str] | None,
        typer.Option(
            "--subject",
            metavar="NAME",
            help="A subject: name of the first folder, or of the file up to _ or .; repeat it for several.  Exclude "
            "subjects that a model was trained on.  All if left out.",
        ),
    ] = None,
    slices: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Slices of each volume, evenly over the middle 80 % of those with tissue.",
        ),
    ] = 3,
    matrix: Annotated[
        str | None,
        typer.Option(
            metavar="ROWSxCOLS", help="Resample the true images to this matrix first; as stored if left out."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of all noise.")] = 0,
    lesions: Annotated[
        bool,
        typer.Option(
            "--lesions",
            metavar=FLAG,
            help="Instead, insert small lesions of known contrast and size before the degradation, and measure how "
            "much contrast of them and of real small bright structures is preserved, and how much is invented: "
            "lesions.csv, lesions.json, lesions.png.  Defaults: core, bicubic and zero-filling at kspace-x2 and "
            "kspace-x4.",
        ),
    ] = False,
    device: Annotated[
        str,
        typer.Option(
            metavar="NAME", rich_help_panel=MACHINE, help="cpu, cuda, cuda:N or mps; auto is the best."
        ),
    ] = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Compare methods on the images of FOLDER: degrade them, restore them, measure the error.

    The degradations are seeded. The report has means over subjects with bootstrap
    intervals, differences to the best baseline within subjects, the fraction of
    detail that is real, the calibration of the uncertainty, time and memory. It
    begins with the cases in which a simpler method is better, with a paired t
    interval. It contains the names of subjects' folders or files. For your own
    method see examples/own_method.py.

    [bold]kfine benchmark BRAINS -o report[/bold]
    [bold]kfine benchmark BRAINS -o report --subject sub-11 --subject sub-12 --slices 6[/bold]
    [bold]kfine benchmark BRAINS -o report --lesions --slices 6[/bold]
    [bold]kfine benchmark BRAINS -o report --method bicubic --method vdm=runs/mine/model[/bold]
    """
    size = parsers.parse_matrix(matrix)
    if lesions:
        _lesions(
            folder, output, methods=methods, degradations=degradations, subjects=subjects, slices=slices,
            matrix=size, seed=seed, device=device, overwrite=overwrite, quiet=quiet,
        )  # fmt: skip
        return
    from kfine.benchmark.running import CSV, JSON, POSTER, REPORT
    from kfine.benchmark.running import benchmark as run

    with made_folder(output), plain_warnings(quiet=quiet), progress("reading", quiet=quiet) as bar:

        def on_case(done: int, total: int, what: str) -> None:
            bar.name(literal(what))
            bar(done, total)

        results = run(
            folder, output, methods=methods, degradations=degradations, subjects=subjects, slices=slices,
            matrix=size, seed=seed, device=device, overwrite=overwrite, on_case=on_case,
        )  # fmt: skip
    for failure in results.failures:
        what = f"failed: {failure.method}, {failure.degradation}, {failure.subject}: {failure.reason}"
        err.print(literal(what), markup=False)
    if not quiet:
        say(*(output / name for name in (CSV, JSON, POSTER, REPORT)))
    if results.failures:
        raise typer.Exit(SOME_FAILED)


def _lesions(
    folder: Path,
    output: Path,
    *,
    methods: list[str] | None,
    degradations: list[str] | None,
    subjects: list[str] | None,
    slices: int,
    matrix: tuple[int, int] | None,
    seed: int,
    device: str,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Measure lesions and write their files."""
    from kfine.benchmark import lesions as lesion_files
    from kfine.benchmark.cases import machine
    from kfine.benchmark.competitors import chosen
    from kfine.benchmark.degradations import named
    from kfine.benchmark.lesions import measure
    from kfine.benchmark.truths import find_truths, volumes_below

    lesion_files.check_free(output, overwrite=overwrite)
    chosen_degradations = named(degradations or ["kspace-x2", "kspace-x4"])
    competitors = chosen(methods or ["core", "bicubic", "zero-filling"], device=device)
    with made_folder(output), plain_warnings(quiet=quiet), progress("reading", quiet=quiet) as bar:

        def on_case(done: int, total: int, what: str) -> None:
            bar.name(literal(what))
            bar(done, total)

        volumes = volumes_below(folder, leave=output)
        truths = find_truths(volumes, subjects=subjects, slices=slices, matrix=matrix)
        found = measure(truths, chosen_degradations, competitors, seed=seed, on_case=on_case)
        about = {
            "machine": machine(),
            "subjects": sorted({truth.subject for truth in truths}),
            "slices": slices,
            "seed": seed,
            "methods": {each.name: dict(each.settings) for each in competitors},
        }
        lesion_files.write(found, output, about=about)
    if not quiet:
        for row in found.summary():
            kind = "real structures" if row["real"] else "lesions"
            say(
                f"{row['degradation']}, {row['method']}: {row['lesions']} {kind} of {row['diameter']:g} voxels keep "
                f"{row['contrast_kept']:.0%} of their contrast, {row['of_what_the_scan_shows']:.0%} of what the scan "
                "shows"
            )
        say(*(output / name for name in lesion_files.FILES))
