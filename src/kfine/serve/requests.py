"""Requests of the page: restorations as JSON, converted to options of the library; bounded uploads and archives."""

from __future__ import annotations

import math
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfine.errors import InputError, ResourceError, UsageError
from kfine.files.names import stem_of
from kfine.restoration.options import EFFORTS, METHODS, MOST_SHARP, Options
from kfine.text import clean_text, human_size

_MOST_SCALE, _MOST_FRAMES, _MOST_SAMPLES = 8.0, 8, 64
_CONFIDENCE = 0.5, 0.99  # least and greatest
PROFILES = ("gaussian", "box", "crop")
SLICES = ("keep", "isotropic")
_CHUNK = 1 << 20
_ENCRYPTED = 0x1
# Suffixes that readers need; other files are named by their number alone.
_SUFFIXES = (
    ".nii.gz", ".nii", ".hdr", ".img", ".cfl", ".npy", ".h5", ".hdf5", ".mat", ".mgz", ".mgh", ".mha", ".nrrd",
    ".dcm.gz", ".dcm", ".zip",
)  # fmt: skip


def _number(low: float, high: float) -> Callable[[str, Any], float]:
    def parse(name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"{name}: expected a number, got {clean_text(value)}")
        if not low <= value <= high:
            raise UsageError(f"{name}: expected a number from {low:g} to {high:g}, got {value:g}")
        return float(value)

    return parse


def _whole(low: int, high: int) -> Callable[[str, Any], int]:
    def parse(name: str, value: Any) -> int:
        number = _number(low, high)(name, value)
        if number != int(number):
            raise UsageError(f"{name}: expected a whole number, got {number:g}")
        return int(number)

    return parse


def _one_of(known: tuple[str, ...]) -> Callable[[str, Any], str]:
    def parse(name: str, value: Any) -> str:
        if value not in known:
            raise UsageError(f"{name}: expected one of {', '.join(known)}, got {clean_text(value)}")
        return str(value)

    return parse


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{name}: expected true or false, got {clean_text(value)}")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > 128:
        raise UsageError(f"{name}: expected a short text, got {clean_text(value)}")
    return value


# Keys that the page may send: options of restorations, and of reading.
_OPTIONS: dict[str, Callable[[str, Any], Any]] = {
    "scale": _number(1, _MOST_SCALE),
    "frames_scale": _whole(1, _MOST_FRAMES),
    "method": _one_of(METHODS),
    "effort": _one_of(EFFORTS),
    "denoise": _flag,
    "sharp": _flag,
    "sharp_amount": _number(0, MOST_SHARP),
    "samples": _whole(1, _MOST_SAMPLES),
    "slice_profile": _one_of(PROFILES),
    "confidence": _number(*_CONFIDENCE),
    "strict": _flag,
    "seed": _whole(0, 2**31 - 1),
}
_READING: dict[str, Callable[[str, Any], Any]] = {
    "series": _text,
    "echo": _whole(1, 1000),
    "part": _text,
    "period": _number(1e-3, 1e3),
    "periodic": _flag,
    "coil_axis": _whole(-8, 8),
    "contrast": _whole(1, 1000),
    "plane": _one_of(("axial", "coronal", "sagittal")),
}


@dataclass(frozen=True)
class RestoreRequest:
    """One requested restoration.

    Attributes:
        options: options of the restoration.
        reading: keywords of `kfine.io.reading.read_input`.
        force: whether derived images are restored too.
    """

    options: Options
    reading: dict[str, Any]
    force: bool = False

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> RestoreRequest:
        """Return the request of JSON from the page; values of None or "" count as missing.

        Raises:
            UsageError: an unknown name, or a value out of range.

        >>> RestoreRequest.of({"scale": 2, "slices": "isotropic"}).options.label
        '_x2_isotropic'
        """
        left = {name: value for name, value in values.items() if value is not None and value != ""}
        chosen = _one_of(SLICES)("slices", left.pop("slices", "keep"))
        force = _flag("force", left.pop("force", False))
        unknown = sorted(left.keys() - _OPTIONS.keys() - _READING.keys())
        if unknown:
            raise UsageError(f"unknown option {clean_text(unknown[0])}; reload the page")
        parsed = {name: parse(name, left[name]) for name, parse in _OPTIONS.items() if name in left}
        if parsed.get("scale") == 1:
            del parsed["scale"]
        if parsed.get("frames_scale") == 1:
            del parsed["frames_scale"]
        if chosen != "isotropic":
            parsed.pop("slice_profile", None)
        options = Options(**parsed, isotropic=chosen == "isotropic")
        if options.scale is None and not options.in_time and not options.in_slices:
            raise UsageError("nothing to restore: choose a finer matrix, isotropic slices or more frames")
        reading = {name: parse(name, left[name]) for name, parse in _READING.items() if name in left}
        return cls(options, reading, force)


@dataclass(frozen=True)
class Limits:
    """Limits of uploads.

    Attributes:
        upload: bytes of one upload.
        unpacked: bytes of the files of an archive.
        files: number of files.
        ratio: unpacked bytes for each packed byte, for archives that unpack to more than a megabyte.
    """

    upload: int = 4 << 30
    unpacked: int = 8 << 30
    files: int = 20_000
    ratio: int = 200


def suffix_of(name: str) -> str:
    """Return the known suffix of a file name, "" for none.

    >>> suffix_of("Doe^John.NII.GZ"), suffix_of("IM0001"), suffix_of("x.sh")
    ('.nii.gz', '', '')
    """
    lower = name.lower()
    return next((suffix for suffix in _SUFFIXES if lower.endswith(suffix)), "")


def place_of(folder: Path, name: str, known: dict[str, str]) -> Path:
    """Return the path of an uploaded file: a number and its suffix; files of one stem (.hdr, .img) share the number.

    Args:
        folder: folder of the scan.
        name: name from the browser, of which only the suffix is used on the disk.
        known: earlier stems and their numbers; the new one is added.
    """
    stem = stem_of(Path(name.replace("\\", "/")))
    number = known.setdefault(stem, f"{len(known):06}")
    place = folder / f"{number}{suffix_of(name)}"
    return (
        place
        if not place.exists()
        else folder / f"{number}-{len(list(folder.iterdir())):06}{suffix_of(name)}"
    )


async def receive(chunks: AsyncIterator[bytes], place: Path, *, room: int) -> int:
    """Write a stream to a file and return the number of bytes.

    Raises:
        ResourceError: more than `room` bytes, or a full disk; the file is removed.
    """
    size = 0
    try:
        with place.open("xb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > room:
                    raise ResourceError(
                        f"the upload is larger than the {human_size(room)} left of the limit; use kfine restore"
                    )
                file.write(chunk)
    except BaseException as error:
        place.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ResourceError(f"the upload cannot be written ({error.strerror})") from None
        raise
    return size


def unpack(archive: Path, folder: Path, limits: Limits) -> None:
    """Write the files of a ZIP archive to `folder`, named by numbers; their names and paths are not used.

    Raises:
        InputError: no ZIP archive, a damaged or an encrypted one.
        ResourceError: more files or bytes than `limits` allow, independent of the sizes in the headers.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [member for member in packed.infolist() if not member.is_dir()]
            if len(members) > limits.files:
                raise ResourceError(
                    f"the archive contains {len(members)} files; expected at most {limits.files}"
                )
            if any(member.flag_bits & _ENCRYPTED for member in members):
                raise InputError("the archive is encrypted; send one without a password")
            room = min(limits.unpacked, max(_CHUNK, archive.stat().st_size * limits.ratio))
            known: dict[str, str] = {}
            for member in members:
                place = place_of(folder, f"{len(known)}{suffix_of(member.filename)}", known)
                room -= _unpack_one(packed, member, place, room)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
        raise InputError(f"the archive cannot be unpacked ({clean_text(error)}); create it again") from None


def _unpack_one(packed: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path, room: int) -> int:
    size = 0
    with packed.open(member) as source, place.open("xb") as target:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > room:
                raise ResourceError("the archive unpacks to more than the limit; send fewer files")
            target.write(chunk)
    return size


def only_image(folder: Path) -> Path:
    """Return the image in the folder of a scan: the only file, the data file of a pair, or the folder of DICOM files.

    Raises:
        InputError: the folder is empty.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if not files:
        raise InputError("the upload contains no file; choose an image")
    if len(files) == 1:
        return files[0]
    pair = {path.suffix for path in files}
    if len(files) == 2 and pair in ({".hdr", ".img"}, {".hdr", ".cfl"}):
        return next(path for path in files if path.suffix != ".hdr")
    return folder
