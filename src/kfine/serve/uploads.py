"""Uploads: bounded streams to numbered files, bounded unpacking of archives."""

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
# Suffixes that readers need; other files are named by their number alone.
_SUFFIXES = (
    ".nii.gz", ".nii", ".hdr", ".img", ".cfl", ".npy", ".h5", ".hdf5", ".mgz", ".mgh", ".mha", ".nrrd", ".dcm.gz",
    ".dcm", ".zip",
)  # fmt: skip


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
