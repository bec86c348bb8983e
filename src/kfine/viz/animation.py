"""Animation of a cine: input, methods and reference side by side, in a loop at the speed of the heart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image as Picture

from kfine.acquisition.timing import Timing
from kfine.files.atomic import atomic_file
from kfine.image import Image
from kfine.viz import drawing
from kfine.viz.cine import check_and_make_scene
from kfine.viz.drawing import FAINT
from kfine.viz.sheet import LOW, PANEL, SIDE, columns_of, empty_sheet
from kfine.viz.view import CineScene

_TICK = 10  # ms: the unit of time of a GIF
_FASTEST = 20  # ms: viewers slow down faster frames
_SLOWEST = 200  # ms a frame: series other than cines may take minutes
_UNTIMED = 50  # ms a frame of a cine without times
_DPI = 130


@dataclass(frozen=True)
class Animation:
    """Pictures and the duration of each, ms."""

    pictures: list[Picture.Image]
    durations: list[int]

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write a GIF in an endless loop, completely or not at all.

        Raises:
            UsageError: the file exists and `overwrite` is False.
        """
        with atomic_file(path, overwrite=overwrite) as partial:
            self.pictures[0].save(
                partial,
                format="GIF",
                save_all=True,
                append_images=self.pictures[1:],
                duration=self.durations,
                loop=0,
                disposal=1,
            )


def animate(
    *,
    low: Image | None,
    restored: Mapping[str, Image],
    timing: Timing,
    reference: Image | None = None,
    slice_index: int | None = None,
) -> Animation:
    """Return the animation of the region of one slice that moves most; for the arguments see `draw_cine`.

    The loop takes the time of one heart beat, or longer if frames are faster than a GIF can show; no frame is dropped.
    """
    guide = reference if reference is not None else list(restored.values())[-1]
    scene = check_and_make_scene(guide, low, [*restored.values()], timing, slice_index=slice_index)
    columns = columns_of(low, restored, reference)
    height = PANEL * scene.still.zoom.height / scene.still.zoom.width
    sheet = empty_sheet(
        scene.still,
        columns,
        heights={"image": height},
        places=len(columns),
        margins=(SIDE, SIDE),
        title="",
        notes=[],
    )
    latest, drawn = scene.latest_measured(), []
    for number, column in enumerate(columns):
        axes = drawing.axes_at(sheet.figure, f"image: {column.name}", sheet.place("image", number))
        extent = scene.still.extent(column.image.matrix)
        plane = scene.still.plane(column.image)
        drawn.append(drawing.show(axes, plane, extent, window=scene.still.zoom, limits=scene.still.grey))
        sheet.write_above(number, column.name)
    bottom = sheet.tops["image"] + height
    clock = drawing.text_at(sheet.figure, (SIDE, bottom + 0.17), "", fontsize=8.5, color=FAINT, ha="left")
    canvas = FigureCanvasAgg(sheet.figure)
    sheet.figure.set_dpi(_DPI)
    frames, durations = range(len(timing.at)), _durations(scene)
    pictures = []
    for frame in frames:
        for column, shown in zip(columns, drawn, strict=True):
            shown.set_data(
                scene.still.plane(column.image, frame=latest[frame] if column.role == LOW else frame)
            )
        clock.set_text(scene.when(frame))
        canvas.draw()
        pictures.append(Picture.fromarray(np.array(canvas.buffer_rgba())[..., :3]))
    return Animation(_with_one_palette(pictures), durations)


def _durations(scene: CineScene) -> list[int]:
    """Return the duration of each frame, ms."""
    timing = scene.timing
    count, at = len(timing.at), np.asarray(timing.at)
    if not scene.seconds or count == 1:
        return [_UNTIMED] * count
    ends = np.append(at[1:], at[0] + timing.period if timing.period is not None else 2 * at[-1] - at[-2])
    slower = max(1.0, _FASTEST / (1000 * float((ends - at).mean())))
    starts = 1000 * slower * np.append(at, ends[-1])
    # Differences of rounded start times, so that rounding errors do not add up.
    durations = np.diff(_TICK * np.rint((starts - starts[0]) / _TICK)).astype(int).clip(_FASTEST, _SLOWEST)
    return durations.tolist()  # type: ignore[no-any-return]


def _with_one_palette(pictures: list[Picture.Image]) -> list[Picture.Image]:
    """Return the pictures in one common palette of 256 colours, which avoids flicker."""
    every = max(1, len(pictures) // 8)
    sample = Picture.fromarray(np.concatenate([np.asarray(p) for p in pictures[::every]]))
    palette = sample.quantize(256, method=Picture.Quantize.MEDIANCUT)
    return [picture.quantize(palette=palette, dither=Picture.Dither.NONE) for picture in pictures]
