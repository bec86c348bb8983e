"""Self-contained HTML page of a restoration: linked views of input, result and uncertainty."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import UsageError
from kfine.image import Image
from kfine.viz.layers import difference
from kfine.viz.view import View, plane_name, view_of, view_of_image

_MOST_PICTURES, _MOST_FRAMES = 40, 24  # limits per plane and layer, and per slice of a cine
_PIXELS = 12_000_000  # limit of all pictures of a layer together; about 1.5 bytes a pixel as PNG


@dataclass(frozen=True)
class Windows:
    """Values drawn as white (for the difference: white and, negated, black)."""

    grey: float
    spread: float
    change: float


def page_of(
    *,
    before: Image,
    after: Image,
    sharp: Image | None = None,
    std: Image | None = None,
    interval: bool = False,
    title: str = "",
    facts: Sequence[str] = (),
) -> str:
    """Return a self-contained HTML page of images on one grid.

    It has a slider between before and after (mean or sharp image), the uncertainty, the difference, "only where sure",
    a line profile and, for a cine, playback in real time.  It contains 8-bit pictures of up to 40 evenly spaced slices
    per plane, and no name or path of the input.  Its content security policy blocks all loading and sending.

    Args:
        before, after: real images of one shape.
        sharp: sharp image around `after`, None without one.
        std: standard deviation of `after`, None if unknown.
        interval: whether `std` is half the width of the 90 % interval instead.
        title: heading.
        facts: lines of text below the views.

    Raises:
        UsageError: images of different shapes.
    """
    for image in (before, sharp, std):
        if image is not None and image.voxels.shape != after.voxels.shape:
            raise UsageError(
                f"page: expected images of shape {after.voxels.shape}, got {image.voxels.shape}; resample them first"
            )
    import jinja2

    change = difference(before, after)
    windows = Windows(
        _bright(after.voxels),
        _bright(std.voxels) if std else 1.0,
        _bright(np.abs(change.voxels)),
    )
    layers = {"before": before, "after": after, "sharp": sharp, "std": std, "change": change}
    data = {
        "planes": _planes({name: image for name, image in layers.items() if image is not None}, windows),
        "windows": {"grey": windows.grey, "spread": windows.spread, "change": windows.change},
        "times": _times(after),
        "period": after.period,
        "spread": std is not None,
        "sharp": sharp is not None,
        "spreadName": "half of the 90 % interval" if interval else "standard deviation",
    }
    folder = files("kfine.viz.page")
    script, style = (folder.joinpath(name).read_text("utf-8") for name in ("page.js", "page.css"))
    environment = jinja2.Environment(autoescape=True)
    template = environment.from_string(folder.joinpath("page.html").read_text("utf-8"))
    # "<" would let data end the script element.
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    body = f"const DATA = {text};\n{script}"
    policy = f"default-src 'none'; img-src data:; script-src 'sha256-{_hash(body)}'; style-src 'sha256-{_hash(style)}'"
    return template.render(title=title, facts=list(facts), script=body, style=style, policy=policy)


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()


def _times(image: Image) -> list[float]:
    """Return the frame times in seconds from the first; 50 ms apart where they are not known."""
    if image.frame_times is None:
        return [round(0.05 * frame, 5) for frame in range(image.frames)]
    return [round(time - image.frame_times[0], 5) for time in image.frame_times]


def _bright(voxels: NDArray[Any]) -> float:
    inside = voxels[len(voxels) // 2]
    inside = inside[inside > 0]
    return float(np.percentile(inside, 99.5)) if inside.size else 1.0


def _planes(layers: dict[str, Image], windows: Windows) -> list[dict[str, Any]]:
    """Return the pictures of each direction; of a cine of the slices alone."""
    after = layers["after"]
    shape = after.voxels.shape[1:]
    axes = (0,) if after.frames > 1 or after.slices < 8 else (0, 1, 2)
    room = _PIXELS // len(axes)
    planes = []
    for axis in axes:
        pixels = int(np.prod(shape)) // shape[axis]
        frames = _spread(after.frames, _MOST_FRAMES)
        most = max(1, min(_MOST_PICTURES, room // (pixels * len(frames))))
        affine = after.affine[:, [axis, *(other for other in range(4) if other != axis)]]
        view = view_of_image(after) if axis == 0 else view_of(affine)
        indices = _spread(shape[axis], most)
        sizes = [size for number, size in enumerate(after.voxel_sizes) if number != axis]
        planes.append(
            {
                "name": plane_name(affine),
                "indices": indices,
                "of": shape[axis],
                "frames": frames,
                "mm": list(reversed(sizes)) if view.transpose else sizes,
                "left": view.left,
                "pictures": {
                    name: [
                        [_picture(image, axis, index, frame, view, name, windows) for frame in frames]
                        for index in indices
                    ]
                    for name, image in layers.items()
                },
            }
        )
    return planes


def _spread(count: int, most: int) -> list[int]:
    """Return up to `most` of the numbers below `count`, evenly spread.

    >>> _spread(4, 8), _spread(9, 3)
    ([0, 1, 2, 3], [1, 4, 7])
    """
    if count <= most:
        return list(range(count))
    return [int((number + 0.5) * count / most) for number in range(most)]


def _picture(image: Image, axis: int, index: int, frame: int, view: View, name: str, windows: Windows) -> str:
    """Return one plane as a data address of a PNG of 8 bits."""
    from PIL import Image as Picture

    plane = view.turn(np.take(image.voxels[frame], index, axis=axis))
    if name == "change":
        grey = 127.5 + 127.5 * plane / windows.change
    else:
        grey = 255 * plane / (windows.spread if name == "std" else windows.grey)
    file = io.BytesIO()
    Picture.fromarray(np.ascontiguousarray(grey.clip(0, 255).round().astype(np.uint8))).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
