"""Pictures of an evaluation: images beside the truth; a cine also moves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kfine.acquisition.timing import timing_of_image
from kfine.image import Image
from kfine.viz.figure import draw, save


def draw_evaluation(truth: Image, images: Mapping[str, Image], path: Path, *, animation: Path | None) -> None:
    """Draw `images` beside the truth to `path`.

    animation: where the moving picture of a cine goes; None for one frame.
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
