"""Provenance of a restoration: input, options, model and software."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kfine._version import __version__
from kfine.acquisition.grid import Matrix
from kfine.acquisition.plan import Acquisition
from kfine.image import Source
from kfine.restoration.options import Options
from kfine.restoration.selection import ResolvedMethod

NOTICE = "research software, not a medical device"


@dataclass(frozen=True)
class Frames:
    """Measured and restored frames.

    Attributes:
        asked: frames_scale and frames, as in the call.
        measured, restored: numbers of frames.
        at_measured_times: the restored frames at times of measured ones.
        times: times of both, or a remark that these are not known; {} for one frame.
    """

    asked: dict[str, int | None]
    measured: int
    restored: int
    at_measured_times: list[int]
    times: dict[str, Any]

    @classmethod
    def of(cls, acquisition: Acquisition, options: Options) -> Frames:
        """Return the frames of a plan."""
        timing, image = acquisition.timing, acquisition.image
        times: dict[str, Any] = {"times": "not known; frames taken as evenly spaced"}
        if image.frame_times is not None:
            times = {
                "times_s": {"measured": list(timing.times), "restored": list(timing.at)},
                "period_s": timing.period,
            }
        return cls(
            {"frames_scale": options.frames_scale, "frames": options.frames},
            len(timing.times),
            len(timing.at),
            [restored for _, restored in timing.pairs],
            times if image.frames > 1 else {},
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the content, JSON-ready."""
        return {
            "asked": self.asked,
            "measured": self.measured,
            "restored": self.restored,
            "restored_at_measured_times": self.at_measured_times,
            **self.times,
        }


@dataclass(frozen=True)
class Provenance(Mapping[str, Any]):
    """Input, options, model and software of a restoration; equal for equal inputs, options and software.

    It is a mapping with the content of the JSON file beside the result: `provenance["model"]`.

    Attributes:
        source: the input.
        kspace: "measured", or "simulated from a real image".
        displayed: (rows, columns) of the input.
        measured: (rows, columns) of the measured block of its k-space.
        restored: (rows, columns) of the result.
        frames: measured and restored ones.
        slices: (first, stop) of the restored slices; None: all.
        full_scale: intensity that corresponds to 1 in model units.
        method: name of the method.
        reason: why "auto" chose it; None if the user named it.
        time_method: interpolation in time; None without one.
        model: name and SHA-256; None for a method without a model.
        options: of the method.
        seed: of all noise.
        slice_direction: grids, profile and method of the restored slice direction, JSON-ready; None if not restored.
        magnitude: whether only magnitudes of the scan are known.
        residual: relative residual of result and scan; None before the restoration.
        uncertainty: source of the standard deviation and the intervals, JSON-ready; None if the error is not
            calibrated.
        sharp: model and settings of the sharp image, JSON-ready; None without one.
        memory: batch and tile sizes after memory ran out, JSON-ready; None if it never did.
        equal_noise: numbers of the slices of a cine of whose frames some noise was removed, so that all frames have
            equal texture (`kfine.methods.cine_core`); None if there are none.
        domain: distance of the image from the training images of the model (`kfine.models.novelty`), JSON-ready; None
            if unknown.
    """

    source: Source
    kspace: str
    displayed: Matrix
    measured: Matrix
    restored: Matrix
    frames: Frames
    slices: tuple[int, int] | None
    full_scale: float
    method: str
    reason: str | None
    time_method: str | None
    model: dict[str, str] | None
    options: dict[str, Any]
    seed: int
    magnitude: bool
    slice_direction: dict[str, Any] | None = None
    residual: float | None = None
    uncertainty: dict[str, Any] | None = None
    sharp: dict[str, Any] | None = None
    memory: dict[str, int] | None = None
    equal_noise: tuple[int, ...] | None = None
    domain: dict[str, Any] | None = None

    @classmethod
    def of(
        cls,
        acquisition: Acquisition,
        resolved: ResolvedMethod,
        options: Options,
        *,
        slices: tuple[int, int] | None,
        through: ResolvedMethod | None = None,
    ) -> Provenance:
        """Return the provenance that is known before the restoration.

        through: the method of the slice direction; None if it is not restored.
        """
        image, plan = acquisition.image, acquisition.slices
        direction = None
        if plan is not None and through is not None:
            direction = plan.as_dict() | {
                "method": through.method.name,
                "model": through.model,
                "options": through.options,
            }
        return cls(
            image.source,
            "measured" if image.measured else "simulated from a real image",
            displayed=image.matrix,
            measured=acquisition.block,
            restored=acquisition.high,
            frames=Frames.of(acquisition, options),
            slices=slices,
            full_scale=acquisition.scaling.full,
            method=resolved.method.name,
            reason=resolved.reason,
            time_method=resolved.time_method,
            model=resolved.model,
            options=resolved.options,
            seed=options.seed,
            magnitude=acquisition.scan.magnitude,
            slice_direction=direction,
            sharp=resolved.sharp_record,
        )

    def before(self) -> dict[str, Any]:
        """Return the content known before the restoration, JSON-ready; with the voxels it determines the result."""
        source = self.source
        displayed = {"displayed": list(self.displayed)} if self.displayed != self.measured else {}
        return {
            "software": {
                "kfine": __version__,
                "torch": torch.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "input": {
                "kind": source.kind,
                "name": source.name,
                "sha256": source.digest,
                **({"remarks": list(source.remarks)} if source.remarks else {}),
            },
            "kspace": self.kspace,
            **({"acquisition": source.acquisition} if source.acquisition else {}),
            "matrix": {"measured": list(self.measured), **displayed, "restored": list(self.restored)},
            "frames": self.frames.as_dict(),
            "slices": list(self.slices) if self.slices else None,
            **({"slice_direction": self.slice_direction} if self.slice_direction else {}),
            "intensity_full_scale": self.full_scale,
            "method": self.method,
            **({"method_chosen_for": self.reason} if self.reason else {}),
            **({"time_method": self.time_method} if self.time_method else {}),
            "model": self.model,
            "options": self.options,
            "seed": self.seed,
            **({"uncertainty": self.uncertainty} if self.uncertainty else {}),
            **({"sharp": self.sharp} if self.sharp else {}),
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the content of the JSON file."""
        residual = {f"relative_{'magnitude' if self.magnitude else 'kspace'}_residual": self.residual}
        memory = {"out_of_memory": self.memory} if self.memory else {}
        domain = {"domain": self.domain} if self.domain else {}
        equal = {"equal_noise": {"slices": list(self.equal_noise)}} if self.equal_noise else {}
        known = residual if self.residual is not None else {}
        return self.before() | domain | known | equal | memory | {"notice": NOTICE}

    def __getitem__(self, key: str) -> Any:
        return self.as_dict()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.as_dict())

    def __len__(self) -> int:
        return len(self.as_dict())
