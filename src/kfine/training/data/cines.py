"""Training data of cines: DICOM or NIfTI cines and pictures in folders, split by subject; patches of them.

Item number g is a pure function of (seed, g), in resumed and in distributed runs too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from kfine.errors import InputError
from kfine.image import Image, Source
from kfine.io import read
from kfine.io.checks import check_voxels
from kfine.io.discovery import NIFTI, find_volumes, subject_of
from kfine.methods.regression import guide, with_facts
from kfine.methods.time_interpolation import neighbours
from kfine.operators.kspace import KSpaceCrop
from kfine.training.data.degradation import Degradation, drawn_degradation, leaving_two, zero_filled
from kfine.training.data.patches import Item, Planes, Rng, drawn_cut, drawn_planes, seen_at
from kfine.training.data.volumes import Order, SliceRef, Volumes, slices_with_tissue
from kfine.training.ldm_config import CineDataConfig

PICTURES = (".png",)


@dataclass(frozen=True)
class Cines:
    """Slices for training and validation.

    Attributes:
        clips: the slices of each training cine, with at least `frames` frames; `SliceRef.frame` is not used.
        stills: the frames of each training picture, and of images with too few frames for a clip.
        validation: the slices of each validation cine.
        volumes: the images behind them.
    """

    clips: list[list[SliceRef]]
    stills: list[list[SliceRef]]
    validation: list[list[SliceRef]]
    volumes: Volumes


def find_cines(roots: Sequence[Path], config: CineDataConfig) -> Cines:
    """Return the slices in folders of DICOM series, NIfTI files and PNG pictures.

    Raises:
        InputError: nothing usable, a missing validation subject, or no subject to train on.
    """
    volumes = Volumes(config.memory_gib, reader=read_frames, seen_at=partial(seen_at, config=config))
    train, validation = split_cines(roots, config.validation)
    names = ", ".join(root.name for root in roots)
    if not train:
        raise InputError(f"{names}: every subject is a validation subject, none is left to train on")
    clips, stills = [], []
    for path, refs in zip(train, slices_with_tissue(volumes, train), strict=True):
        if not refs:
            continue
        if volumes.get(path)[0].frames >= config.frames:
            clips.append(_slices(refs))
        else:
            stills.append(refs)
    held_out = [
        _slices(refs)
        for path, refs in zip(validation, slices_with_tissue(volumes, validation, of="validation"), strict=True)
        if refs and volumes.get(path)[0].frames > 1
    ] if validation else []  # fmt: skip
    return Cines(clips, stills, held_out, volumes)


def split_cines(roots: Sequence[Path], validation: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Return (training, validation) images; names that begin with a validation subject's name belong to that subject.

    The names of a picture are those of its file and of all its folders.

    Raises:
        InputError: no images, or a missing validation subject.
    """
    subjects: dict[Path, tuple[str, ...]] = {}
    for root in roots:
        for path in find_volumes(root, files=(*NIFTI, *PICTURES)):
            picture = path.name.endswith(PICTURES)
            names = path.relative_to(root).parts if picture else (subject_of(path, root),)
            # For nested roots an image has a name below each of them.
            subjects[path] = subjects.get(path, ()) + names
    found = {name for names in subjects.values() for name in names}
    missing = sorted(subject for subject in validation if not any(is_of(name, subject) for name in found))
    if missing:
        folders = ", ".join(root.name for root in roots)
        raise InputError(
            f"{folders}: expected the validation subjects {', '.join(missing)}, found none of their files"
        )
    held_out = [
        path
        for path, names in subjects.items()
        if any(is_of(name, subject) for name in names for subject in validation)
    ]
    return [path for path in subjects if path not in set(held_out)], held_out


def is_of(name: str, subject: str) -> bool:
    """Return whether a file or folder belongs to `subject`: the same name, or followed by a non-alphanumeric sign.

    >>> is_of("SC-N-11-IM-0001.png", "SC-N-11"), is_of("SC-N-11-IM-0001.png", "SC-N-1")
    (True, False)
    """
    return name.startswith(subject) and not name[len(subject) :][:1].isalnum()


def read_frames(path: Path) -> Image:
    """Return the image of a PNG picture, one slice of one frame, or that of any file that `kfine.io.read` reads."""
    if not path.name.endswith(PICTURES):
        return read(path)
    from PIL import Image as Picture
    from PIL import UnidentifiedImageError

    try:
        with Picture.open(path) as picture:
            # Pictures of more than 8 bits are grey; the conversion would clip them.
            deep = picture.mode.startswith(("I", "F"))
            grey: NDArray[np.float32] = np.asarray(picture if deep else picture.convert("L"), np.float32)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise InputError(
            f"{path.name}: expected a PNG picture, it cannot be read ({type(error).__name__}); copy it again"
        ) from None
    check_voxels(grey, name=path.name)
    return Image(grey[None, None], source=Source(kind="png", name=path.name))


def _slices(refs: Sequence[SliceRef]) -> list[SliceRef]:
    """Return each slice of `refs` once."""
    return [SliceRef(refs[0].path, 0, number) for number in sorted({ref.slice for ref in refs})]


class CineDataset(Dataset[Item]):
    """Items of `config.frames` frames; all items of a batch are clips of one kind, or stills.

    Args:
        cines: the slices.
        config: of pieces and degradation.
        batch: items per update.
        seed: of all random numbers.
        length: number of items.

    Raises:
        InputError: neither clips nor stills.
    """

    def __init__(self, cines: Cines, config: CineDataConfig, *, batch: int, seed: int, length: int) -> None:
        self.config, self.batch, self.seed, self.length = config, batch, seed, length
        self.volumes = cines.volumes
        if not cines.clips and not cines.stills:
            raise InputError(
                f"training data: expected cines of at least {config.frames} frames or pictures, found none"
            )
        circles = [slices for slices in cines.clips if self._goes_round(slices[0])]
        self.orders = {
            kind: Order(slices, group=self.volumes.fitting(slices[0][0].path), seed=seed)
            for kind, slices in (("clip", cines.clips), ("circle", circles), ("still", cines.stills))
            if slices
        }
        limit_opencv_threads()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, g: int) -> Item:
        """Return item number `g`, one image for each piece."""
        kind = self.kind_of(g)
        rng = np.random.default_rng([self.seed, 1, g])
        if kind == "still":
            count = self.config.frames
            pieces = [self._still(self.orders[kind][g * count + k], rng) for k in range(count)]
        else:
            pieces = [self._clip(self.orders[kind][g], rng, circle=kind == "circle")]
        x, guides, kept, hows = zip(*pieces, strict=True)
        return Item(
            torch.stack(x),
            torch.stack(guides),
            torch.stack(kept),
            torch.tensor([how.parts for how in hows]),
            torch.tensor([how.exact for how in hows]),
            kind == "circle",
        )

    def kind_of(self, g: int) -> str:
        """Return "clip", "circle" or "still", equal for all items of a batch."""
        first, second = np.random.default_rng([self.seed, 2, g // self.batch]).random(2)
        if "still" in self.orders and (first < self.config.stills or len(self.orders) == 1):
            return "still"
        return "circle" if "circle" in self.orders and second < self.config.circles else "clip"

    def _goes_round(self, ref: SliceRef) -> bool:
        image = self.volumes.get(ref.path)[0]
        return image.period is not None and image.frames % self.config.frames == 0

    def _clip(self, ref: SliceRef, rng: Rng, *, circle: bool) -> tuple[Tensor, Tensor, Tensor, Degradation]:
        """Return x, guide, kept and the degradation of a clip: consecutive frames, or one whole beat."""
        image = self.volumes.get(ref.path)[0]
        count, wraps = self.config.frames, image.period is not None
        # The frames that can be measured, in the order and with the spacing of this item.
        steps = np.arange(0, image.frames, image.frames // count if circle else 1)
        line = (steps + rng.integers(image.frames)) % image.frames if wraps else steps
        line = line[::-1] if rng.integers(2) else line
        how = self._scan(rng, frames=len(line))
        times = np.arange(0, len(line), how.every)
        start = 0 if circle else int(rng.integers(len(line) if wraps else len(line) - count + 1))
        at = (start + np.arange(count)) % len(line)
        period = float(len(line)) if wraps else None
        before, after, _ = neighbours(times.tolist(), at.tolist(), period)
        # Only the measured neighbours of the frames `at` are needed.
        used = np.unique(np.concatenate([before, after]))
        numbers, places = np.unique(np.concatenate([at, times[used]]), return_inverse=True)
        planes = self._planes(ref, line[numbers], rng)
        how = how.of((planes.shape[1], planes.shape[2]))
        x = planes[places[:count]]
        seen = zero_filled(torch.from_numpy(planes[places[count:]]), how, rng)
        cut = drawn_cut(x, self.config.patch, rng)
        around = _guide(cut.around(seen), times[used].tolist(), at.tolist(), period=period, parts=how.parts)
        kept = torch.from_numpy(np.isin(at, times))
        return cut.inside(cut.around(torch.from_numpy(x))), cut.guide(around, images=2), kept, how

    def _still(self, ref: SliceRef, rng: Rng) -> tuple[Tensor, Tensor, Tensor, Degradation]:
        how = self._scan(rng, frames=1)
        planes = self._planes(ref, [ref.frame], rng)
        how = how.of((planes.shape[1], planes.shape[2]))
        seen = zero_filled(torch.from_numpy(planes), how, rng)
        cut = drawn_cut(planes, self.config.patch, rng)
        x, seen = (cut.around(frames) for frames in (torch.from_numpy(planes), seen))
        around = with_facts(seen, seen, torch.zeros_like(seen), how.parts)
        return cut.inside(x), cut.guide(around, images=2), torch.ones(1, dtype=torch.bool), how

    def _scan(self, rng: Rng, *, frames: int) -> Degradation:
        """Return a random degradation of a clip of `frames` frames that measures at least two of them."""
        every = leaving_two(self.config.every, frames=frames)
        return drawn_degradation(self.config, rng, every=every, time_only=self.config.time_only)

    def _planes(self, ref: SliceRef, frames: Sequence[int] | NDArray[np.intp], rng: Rng) -> Planes:
        """Return augmented whole frames (frame, row, column), see `drawn_planes`."""
        image, scaling = self.volumes.get(ref.path)
        planes = np.abs(image.voxels[frames, ref.slice])
        return drawn_planes(planes, image, scaling=scaling, config=self.config, rng=rng)


def _guide(
    seen: Tensor,
    times: Sequence[float],
    at: Sequence[float],
    *,
    period: float | None,
    parts: tuple[float, float],
) -> Tensor:
    """Return the guide of zero-filled frames (measured frame, row, column), which count as measured completely."""
    matrix = seen.shape[-2], seen.shape[-1]
    crop = KSpaceCrop(matrix, matrix, real=True)
    return guide(crop(seen), crop, times, at, period=period, parts=parts)


def limit_opencv_threads() -> None:
    """Restrict OpenCV, which estimates motion, to the calling thread.

    Its thread pool does not survive a fork: a data worker would wait for it forever.
    """
    try:
        import cv2
    except ImportError:
        return  # reported where it is needed
    cv2.setNumThreads(0)
