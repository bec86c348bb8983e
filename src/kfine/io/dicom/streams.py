"""Checks of compressed pixel streams before a decoder allocates the size that they state."""

from __future__ import annotations

from collections.abc import Iterator
from struct import unpack_from
from typing import Any, NamedTuple

from kfine.errors import InputError
from kfine.io.dicom.header import DicomFile
from kfine.text import human_size

_RLE_RATIO = 64  # two bytes encode at most 128 (DICOM PS3.5 annex G)
_RATIO, _SMALL = (
    1000,
    1 << 26,
)  # the other formats have no limit; small black frames reach this ratio, 64 MiB of them do not
_PACKET = 128  # bytes: the most that a padding byte at the end of an RLE segment can decode to
_SOF = {*range(0xC0, 0xD0), 0xF7, 0xDE} - {0xC4, 0xC8, 0xCC}  # with JPEG-LS and DHP, which also has a size
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")


class _Size(NamedTuple):
    """Size and depth stated by the stream of a frame."""

    rows: int
    columns: int
    samples: int
    bits: int


def most_bytes(syntax: Any, size: int) -> int:
    """Return the largest number of bytes of pixels in a file of `size` bytes in the transfer syntax `syntax`."""
    from pydicom.uid import RLELossless

    if not (syntax.is_transfer_syntax and syntax.is_compressed):
        return size
    return _RLE_RATIO * size if syntax == RLELossless else max(_RATIO * size, _SMALL)


def check_streams(file: DicomFile, dataset: Any) -> None:
    """Refuse compressed frames that differ from the header of `dataset` in number, size, samples or depth.

    Fewer bits than allocated are accepted: pydicom handles such files.

    Raises:
        InputError: a difference.
        Exception: a damaged stream, see `kfine.io.dicom.header.pydicom_errors`.
    """
    from pydicom.encaps import generate_fragmented_frames
    from pydicom.pixels.utils import as_pixel_options
    from pydicom.uid import RLELossless

    rle = dataset.file_meta.TransferSyntaxUID == RLELossless
    bits = int(dataset.BitsAllocated)
    count = 0
    for fragments in generate_fragmented_frames(
        dataset.PixelData,
        number_of_frames=file.frames,
        extended_offsets=as_pixel_options(dataset).get("extended_offsets"),
    ):
        # without a table of offsets, pydicom assigns all fragments of a single-frame file to that frame
        count += 1 if rle else 1 + sum(fragment.startswith(_STARTS) for fragment in fragments[1:])
        if count > file.frames:
            raise InputError(
                f"{file.name}: expected {file.frames} frame{'s' * (file.frames > 1)}, got more in its compressed "
                "pixels: damaged; export it again"
            )
        stream = b"".join(fragments)
        if rle:
            _check_rle(file, stream, bits)
            continue
        for found in _sizes(stream):
            if found[:3] != (*file.matrix, 1) or found.bits > bits:
                raise InputError(
                    f"{file.name}: expected {file.matrix[0]}x{file.matrix[1]} grey pixels of at most {bits} bits, got "
                    f"{found.rows}x{found.columns}x{found.samples} of {found.bits} bits in its compressed stream: "
                    "damaged; export it again"
                )


def _sizes(stream: bytes) -> Iterator[_Size]:
    if stream.startswith(_STARTS[0]):
        return _jpeg(stream)
    return iter([_jpeg2000(stream, _codestream(stream))])


def _jpeg(stream: bytes) -> Iterator[_Size]:
    """Yield the size in each frame header of a JPEG or JPEG-LS stream before its first scan (ISO 10918-1 B.2.2)."""
    at, found = 2, False
    while stream[at + 1] not in (0xDA, 0xD9):
        if stream[at] != 0xFF:
            raise ValueError("missing marker")
        if stream[at + 1] == 0xFF:  # filling
            at += 1
            continue
        if stream[at + 1] in _SOF:
            bits, rows, columns, samples = unpack_from(">BHHB", stream, at + 4)
            yield _Size(rows, columns, samples, bits)
            found = True
        at += 2 + int(unpack_from(">H", stream, at + 2)[0])
    if not found:
        raise ValueError("no frame header")


def _codestream(stream: bytes) -> int:
    """Return the offset of the JPEG 2000 codestream; some files wrap it in the boxes of a JP2 file (annex I)."""
    at = 0
    while stream.startswith(_STARTS[2]):
        length, kind = unpack_from(">I4s", stream, at)
        if kind == b"jp2c":
            return at + 8
        if length < 8:  # pydicom would loop forever on such a box
            raise ValueError("a box without end")
        at += length
    return at


def _jpeg2000(stream: bytes, at: int) -> _Size:
    """Return the size in the SIZ segment of a JPEG 2000 codestream (ISO 15444-1 A.5.1)."""
    if not stream.startswith(_STARTS[1], at):
        raise ValueError("no SIZ marker")
    right, bottom, left, top = unpack_from(">4I", stream, at + 8)
    samples, depth, across, down = unpack_from(">H3B", stream, at + 40)
    # size of a component: every `down`-th row, counted from the origin of the reference grid
    rows, columns = -(-bottom // down) + (-top // down), -(-right // across) + (-left // across)
    return _Size(rows, columns, samples, (depth & 0x7F) + 1)


def _check_rle(file: DicomFile, stream: bytes, bits: int) -> None:
    """Refuse an RLE frame without exactly one segment per byte of a pixel, or with segments of another length."""
    segments, *offsets = unpack_from("<16I", stream)
    if segments != bits // 8:
        raise InputError(
            f"{file.name}: expected {bits // 8} RLE segments for {bits} bits, got {segments}: damaged; export it again"
        )
    pixels = file.matrix[0] * file.matrix[1]
    ends = [*offsets[1:segments], len(stream)]
    for start, end in zip(offsets[:segments], ends, strict=True):
        found = _unpacked(stream[start:end], pixels + _PACKET)
        if not pixels <= found <= pixels + _PACKET:
            raise InputError(
                f"{file.name}: expected {human_size(pixels)} in each RLE segment, got "
                f"{'more' if found > pixels else human_size(found)}: damaged; export it again"
            )


def _unpacked(segment: bytes, limit: int) -> int:
    """Return the unpacked length of an RLE `segment` without unpacking it; counting stops beyond `limit`."""
    at = count = 0
    while at < len(segment) and count <= limit:
        head = segment[at]
        if head < 128:  # head + 1 bytes as they are
            count += min(head + 1, len(segment) - at - 1)
            at += head + 2
        elif head > 128:  # 257 - head times the next byte
            count += (257 - head) * (at + 1 < len(segment))
            at += 2
        else:
            at += 1
    return count
