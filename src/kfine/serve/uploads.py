"""Uploads: bounded streams to numbered files, and bounded unpacking of archives."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from kfine.errors import InputError, ResourceError
from kfine.files.names import stem_of
from kfine.text import clean_text, human_size

_CHUNK = 1 << 20
_ENCRYPTED = 0x1
# Endings that readers go by; any other file is named by its number alone.
_SUFFIXES = (
    ".nii.gz", ".nii", ".hdr", ".img", ".cfl", ".npy", ".h5", ".hdf5", ".mat", ".mgz", ".mgh", ".mha", ".nrrd",
    ".dcm.gz", ".dcm", ".zip",
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """Bounds of what is taken in.

    Attributes:
        upload: bytes of one scan as it is sent.
        unpacked: bytes of an archive's files.
        files: how many of them.
        ratio: unpacked bytes for each packed one, above a megabyte.
    """

    upload: int = 4 << 30
    unpacked: int = 8 << 30
    files: int = 20_000
    ratio: int = 200


def suffix_of(name: str) -> str:
    """Return the known suffix of a file's name, "" for none.

    >>> suffix_of("Doe^John.NII.GZ"), suffix_of("IM0001"), suffix_of("x.sh")
    ('.nii.gz', '', '')
    """
    lower = name.lower()
    return next((suffix for suffix in _SUFFIXES if lower.endswith(suffix)), "")


def place_of(folder: Path, name: str, known: dict[str, str]) -> Path:
    """Return where an uploaded file goes: a number and its suffix; files of one stem (.hdr and .img) share theirs.

    Args:
        folder: of the scan.
        name: as the browser sends it; nothing of it but its suffix reaches the disk.
        known: stems so far and their numbers; added to.
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
    """Write a stream to a file and return its bytes.

    Raises:
        ResourceError: more than `room` bytes, or the disk is full; the file is gone.
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
    """Write the files of a ZIP archive to `folder` under numbers; their names, and so their paths, are not used.

    Raises:
        InputError: no ZIP archive, a damaged or an encrypted one.
        ResourceError: it holds more files or bytes than `limits` allow, whatever its headers say.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [member for member in packed.infolist() if not member.is_dir()]
            if len(members) > limits.files:
                raise ResourceError(
                    f"the archive holds {len(members)} files; expected at most {limits.files}"
                )
            if any(member.flag_bits & _ENCRYPTED for member in members):
                raise InputError("the archive is encrypted; send one without a password")
            room = min(limits.unpacked, max(_CHUNK, archive.stat().st_size * limits.ratio))
            known: dict[str, str] = {}
            for member in members:
                place = place_of(folder, f"{len(known)}{suffix_of(member.filename)}", known)
                room -= _unpack_one(packed, member, place, room)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
        raise InputError(f"the archive cannot be unpacked ({clean_text(error)}); make it again") from None


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
    """Return what a scan's folder is to be read as: its only file, the header of a pair, or the folder of DICOM files.

    Raises:
        InputError: it holds nothing.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if not files:
        raise InputError("the upload holds no file; choose an image")
    if len(files) == 1:
        return files[0]
    pair = {path.suffix for path in files}
    if len(files) == 2 and pair in ({".hdr", ".img"}, {".hdr", ".cfl"}):
        return next(path for path in files if path.suffix != ".hdr")
    return folder
