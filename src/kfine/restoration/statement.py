"""Calibrated error of a restoration: standard deviation voxel by voxel, and intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.errors import UsageError
from kfine.methods.uncertainty import deviation_in_time, scan_scale
from kfine.models.calibration import Calibration


@dataclass(frozen=True)
class Statement:
    """Calibrated error of one restoration.

    Attributes:
        calibration: constants and quantiles.
        parts: measured fractions of k-space along rows and columns.
        source: description of the calibration.
    """

    calibration: Calibration
    parts: tuple[float, float]
    source: str

    @property
    def constant(self) -> float:
        """The standard deviation in units of the scan's local scale."""
        return self.calibration.constant(self.parts)

    def deviation(self, scan: Scan, y: Tensor) -> Tensor:
        """Return the standard deviation (slice, frame, *high) of the error, model units.

        Args:
            scan: the measurement of a slice, and the restored frames; at other times than the measured ones only if
                the calibration has `motion`.
            y: measurements (slice, measured frame, *low).
        """
        measured = self.constant * scan_scale(scan, y, self.calibration.weights)
        if not scan.timing.changed:
            return measured
        motion = self.calibration.motion
        assert motion is not None
        slices = zip(y, measured, strict=True)
        return torch.stack([deviation_in_time(scan, own, known, motion=motion) for own, known in slices])

    def knows(self, confidence: float) -> bool:
        """Return whether intervals of `confidence` are calibrated."""
        return self.calibration.knows(confidence)

    def multiplier(self, confidence: float) -> float:
        """Return half the width of the interval of `confidence` in standard deviations.

        Raises:
            UsageError: intervals of this confidence are not calibrated.
        """
        found = self.calibration.multiplier(self.parts, confidence)
        if found is None:
            known = self.calibration.confidences
            between = f"from {known[0]:g} to {known[-1]:g}" if known else "none"
            raise UsageError(
                f"confidence {confidence:g}: expected a calibrated one ({self.source}: {between}); choose another, or "
                "leave it out"
            )
        return found

    def as_dict(self, confidence: float | None) -> dict[str, Any]:
        """Return the statement JSON-ready, with the interval of `confidence` unless that is None."""
        interval = {}
        if confidence is not None:
            interval = {
                "confidence": confidence,
                "interval_in_standard_deviations": round(self.multiplier(confidence), 4),
            }
        return {
            "calibration": self.source,
            "subjects": self.calibration.subjects,
            **({"scans": self.calibration.scans} if self.calibration.scans else {}),
            "constant": round(self.constant, 6),
            **interval,
        }
