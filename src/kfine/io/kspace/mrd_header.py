"""XML header of ISMRMRD, also in fastMRI's files: matrices, fields of view, centre and trajectory.

Schema: ismrmrd.xsd, version 1 (Inati et al., Magn Reson Med 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from kfine.errors import InputError, ResourceError

LONGEST = 1 << 22  # bytes; real headers have about ten thousand
_AXES = ("x", "y", "z")
_MOST = 1 << 16  # samples along an axis

Counts = tuple[int, int, int]
Sizes = tuple[float, float, float]


@dataclass(frozen=True)
class RawHeader:
    """The fields of a header that the reader needs; axes are (readout, phase, partition).

    Attributes:
        matrix: numbers of samples.
        fov: encoded field of view, mm; for a plane, the third is its thickness.
        recon_fov: reconstructed field of view, mm.
        centres: line and partition of the origin; None if unknown.
        trajectory: "cartesian" or another.
    """

    matrix: Counts
    fov: Sizes
    recon_fov: Sizes
    centres: tuple[int | None, int | None]
    trajectory: str

    @property
    def recon_readout_samples(self) -> int:
        """Samples of the readout over the reconstructed field of view, without oversampling."""
        samples = round(self.matrix[0] * self.recon_fov[0] / self.fov[0])
        return samples if 0 < samples < self.matrix[0] else self.matrix[0]


def read_raw_header(text: bytes | str, *, name: str) -> RawHeader:
    """Return the header in `text` for its first encoding.  Patient data are not read.

    Raises:
        InputError: too long, with a document type (whose entities could expand without limit), not XML, or incomplete.
        ResourceError: no safe parser is installed.
    """
    parse, refusals = _parser()
    data = text.encode() if isinstance(text, str) else text
    if len(data) > LONGEST:
        raise InputError(f"{name}: expected an XML header of at most {LONGEST} bytes, got {len(data)}")
    try:
        root = parse(data)
    except refusals as error:
        kind = "declares a document type or entities" if isinstance(error, ValueError) else "is not XML"
        raise InputError(
            f"{name}: expected ISMRMRD's XML header, got one that {kind}: damaged or forged; convert the raw data again"
        ) from None
    encoding = _child(root, "encoding", name)
    encoded, recon = (_child(encoding, space, name) for space in ("encodedSpace", "reconSpace"))
    limits = encoding.find("{*}encodingLimits")
    centres = [_centre(limits, f"kspace_encoding_step_{number}") for number in (1, 2)]
    trajectory = encoding.find("{*}trajectory")
    return RawHeader(
        _counts(encoded, name),
        _sizes(encoded, name),
        _sizes(recon, name),
        (centres[0], centres[1]),
        "cartesian" if trajectory is None else (trajectory.text or "").strip().lower(),
    )


def _parser() -> tuple[Any, tuple[type[Exception], ...]]:
    """Return a parser that refuses document types, and its exceptions; `ValueError` means a refused document type."""
    try:
        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import ParseError, fromstring
    except ImportError:
        raise ResourceError(
            "raw k-space in HDF5 needs defusedxml, which is not installed; install it with: pip install 'kfine[raw]'"
        ) from None

    def parse(data: bytes) -> Any:
        return fromstring(data, forbid_dtd=True)

    return parse, (ParseError, DefusedXmlException)


def _child(element: Any, tag: str, name: str) -> Any:
    found = element.find(f"{{*}}{tag}")
    if found is None:
        raise InputError(f"{name}: expected {tag} in the XML header, got none; convert the raw data again")
    return found


def _numbers(space: Any, tag: str, name: str) -> list[float]:
    parent = _child(space, tag, name)
    numbers = []
    for axis in _AXES:
        text = _child(parent, axis, name).text or ""
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            raise InputError(
                f"{name}: expected positive numbers as {tag} in the XML header; convert the raw data again"
            )
        numbers.append(number)
    return numbers


def _counts(space: Any, name: str) -> Counts:
    x, y, z = _numbers(space, "matrixSize", name)
    if max(x, y, z) > _MOST or any(n % 1 for n in (x, y, z)):
        raise InputError(
            f"{name}: expected a matrix of at most {_MOST} samples an axis, got {x:g} x {y:g} x {z:g}"
        )
    return int(x), int(y), int(z)


def _sizes(space: Any, name: str) -> Sizes:
    x, y, z = _numbers(space, "fieldOfView_mm", name)
    return x, y, z


def _centre(limits: Any, tag: str) -> int | None:
    """Return the number of the line at the origin; None if it is not a number."""
    centre = None if limits is None else limits.find(f"{{*}}{tag}/{{*}}center")
    text = "" if centre is None else (centre.text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else None
