"""Figure of a restoration: input, methods and reference; detail; error and uncertainty; k-space.

Rows and columns without data are omitted.  Importing this module loads matplotlib; commands therefore import it only
to draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from kfine.acquisition.timing import timing_of_image
from kfine.errors import InputError, UsageError
from kfine.evaluation.comparison import check_same_grid, range_of
from kfine.files.atomic import atomic_file
from kfine.files.names import PICTURES
from kfine.image import Image
from kfine.viz.sheet import (
    INTERVAL,
    UNCERTAINTY,
    columns_of,
    draw_errors,
    draw_images,
    draw_kspaces,
    draw_sureness,
    draw_uncertainty,
    lay_out,
    unsure_words,
)
from kfine.viz.view import Scene, check_low, make_scene


def draw(
    *,
    low: Image | None,
    restored: Mapping[str, Image],
    reference: Image | None = None,
    uncertainty: Image | None = None,
    half_width: Image | None = None,
    slice_index: int | None = None,
    measured: tuple[int, int] | None = None,
    zoom: bool = True,
    title: str = "",
    provenance: str = "",
) -> Figure:
    """Return the figure of one slice of frame 0: dark, upright, in the proportions of the body.

    Args:
        low: the low-resolution input, or None.
        measured: measured (rows, columns) of its k-space, outlined there; default: its matrix.
        restored: name -> image, one column each in this order, all on one grid; up to five are legible.
            Without a reference the last one determines zoom, grey window and range.
        reference: the truth on that grid; adds the errors, and PSNR and SSIM of the shown slice.
        uncertainty: standard deviation on that grid, in the images' units.
        half_width: instead of it, half the width of the 90 % interval: shown with its colour bar and, without a
            reference, beside the last restored image whose unsure voxels are coloured (`kfine.viz.sheet.UNSURE`).
        slice_index: counted from 0; default: the slice with the largest signal.
        zoom: whether to enlarge the region with the most detail.
        title, provenance: a line above, a paragraph below.

    Raises:
        UsageError: nothing to draw.
        InputError: images on different grids or not finite, or a slice that does not exist.
    """
    if not restored:
        raise UsageError("figure: expected at least one restored image, got none")
    guide = reference if reference is not None else list(restored.values())[-1]
    spread = uncertainty if half_width is None else half_width
    _check(guide, low, [*restored.values(), *([] if spread is None else [spread])])
    scene = make_scene(guide, slice_index=slice_index)
    columns = columns_of(low, restored, reference)
    with_range = reference is not None or spread is not None
    facts = _facts(scene, guide, scored=reference is not None, with_range=with_range)
    facts += "" if half_width is None else f" · {unsure_words()}"
    beside = 0 if spread is None else 1 if half_width is None else 2
    sheet = lay_out(scene, columns, beside=beside, zoom=zoom, title=title, notes=[facts, provenance])
    draw_images(sheet, reference)
    if reference is not None:
        draw_errors(sheet, reference, data_range=range_of(reference))
    if spread is not None:
        name = UNCERTAINTY if half_width is None else INTERVAL
        draw_uncertainty(sheet, spread, data_range=range_of(guide), name=name)
    if half_width is not None and reference is None:
        draw_sureness(sheet, list(restored.values())[-1], half_width, data_range=range_of(guide))
    draw_kspaces(sheet, guide, None if low is None else measured or low.matrix)
    return sheet.figure


def save(figure: Figure, path: Path, *, overwrite: bool = False, dpi: int = 200) -> None:
    """Write the figure in the format of the suffix of `path`, completely or not at all.

    Raises:
        UsageError: the suffix is not that of a picture, or the file exists and `overwrite` is False.
    """
    suffix = path.suffix.lower()
    if suffix not in PICTURES:
        raise UsageError(f"{path}: expected a picture's suffix ({', '.join(PICTURES)}), got '{path.suffix}'")
    with atomic_file(path, overwrite=overwrite) as partial:
        figure.savefig(partial, format=suffix.removeprefix("."), dpi=dpi, facecolor=figure.get_facecolor())


def draw_evaluation(truth: Image, images: Mapping[str, Image], path: Path, *, animation: Path | None) -> None:
    """Draw `images` beside the truth to the new file `path`.

    animation: file for the animation of a cine; None for a still.
    """
    if animation is None:
        save(draw(low=None, restored=images, reference=truth, title=truth.source.name), path)
        return
    from kfine.viz.animation import animate
    from kfine.viz.cine import draw_cine

    timing = timing_of_image(truth, frames_scale=None, frames=None)
    figure = draw_cine(low=None, restored=images, timing=timing, reference=truth, title=truth.source.name)
    save(figure, path)
    animate(low=None, restored=images, timing=timing, reference=truth).save(animation)


def _check(guide: Image, low: Image | None, others: list[Image]) -> None:
    for image in others:
        check_same_grid(guide, image)
    if low is not None:
        check_low(low, guide)
    for image in [guide, *others, *([] if low is None else [low])]:
        if not np.isfinite(image.voxels).all():
            raise InputError(f"{image.source.name or 'image'}: expected finite voxels, got NaN or Inf")


def _facts(scene: Scene, guide: Image, *, scored: bool, with_range: bool) -> str:
    """Return the caption: slice, grey window, range and scores."""
    facts = [f"slice {scene.index} of 0-{guide.slices - 1}"] if guide.slices > 1 else []
    facts += [f"frame 0 of 0-{guide.frames - 1}"] if guide.frames > 1 else []
    facts.append(f"grey {scene.grey[0]:.4g} to {scene.grey[1]:.4g}")
    if with_range:
        whose = "reference" if scored else "restored"
        facts.append(f"range {range_of(guide):.4g} (maximum - minimum of the {whose} volume)")
    if scored:
        facts.append("PSNR and SSIM of this slice over that range")
    return " · ".join([*facts, "k-space: log magnitude"])
