"""What a file is and whether it is whole, by its first bytes and its own structure."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from PIL.TiffImagePlugin import TiffImageFile

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_TIFF_MAGICS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
# In JPEG's coded data 0xFF stands only before 0x00 (stuffing), a restart
# marker, or padding (ITU-T T.81, B.1.1.2 and B.1.1.5).
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Metadata: APP1 to APP13, APP15 and comments. APP0 (JFIF) and APP14 (Adobe) say how
# colours are coded; they are kept, cut to their fixed fields.
_JPEG_KEPT_APPS = {0xE0: (b"JFIF\x00", 14), 0xEE: (b"Adobe", 12)}
_STRIP_OFFSETS, _STRIP_SIZES = 273, 279
_TILE_OFFSETS, _TILE_SIZES = 324, 325


@dataclass(frozen=True)
class Container:
    """What the bytes are.

    Attributes
    ----------
    format : str
        "JPEG", "PNG", "TIFF", "BMP" or "WEBP".
    size : tuple of int, optional
        Width and height by the header; None where it says nothing legible.
    complete : bool
        False where the file ends early. For TIFF it speaks of the table
        alone; the image behind it takes a parser (`tiff_is_complete`).
    """

    format: str
    size: tuple[int, int] | None
    complete: bool


def identify(data: bytes) -> Container | None:
    """Name a file by its content.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    container : Container or None
        None for any type that is not read here.
    """
    if data[:3] == b"\xff\xd8\xff":
        size, ends = _walk_jpeg(data)
        return Container("JPEG", size, ends)
    if data[:8] == _PNG_MAGIC:
        return Container("PNG", _png_size(data), _png_is_complete(data))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        whole = len(data) >= 30 and len(data) >= 8 + struct.unpack_from("<I", data, 4)[0]
        return Container("WEBP", _webp_size(data), whole)
    if data[:4] in _TIFF_MAGICS:
        return Container("TIFF", None, _tiff_table(data) is not None)
    if data[:2] == b"BM" and len(data) >= 18 and data[14:18] in _BMP_HEADERS:
        return _bmp(data)
    return None


# Sizes of the known BMP headers; "BM" alone also starts many a text.
_BMP_HEADERS = frozenset(struct.pack("<I", size) for size in (12, 40, 52, 56, 64, 108, 124))


def tiff_is_complete(image: TiffImageFile, length: int) -> bool:
    """Whether every strip or tile of the first page lies within the file.

    Parameters
    ----------
    image : TiffImageFile
        Opened, not loaded.
    length : int
        Of the file, bytes.

    Returns
    -------
    complete : bool
    """
    tags = image.tag_v2
    for offsets, sizes in ((_STRIP_OFFSETS, _STRIP_SIZES), (_TILE_OFFSETS, _TILE_SIZES)):
        ends = zip(tags.get(offsets, ()), tags.get(sizes, ()), strict=False)
        if any(offset + size > length for offset, size in ends):
            return False
    return True


def _tiff_table(data: bytes) -> tuple[int, int] | None:
    """End of the first page's table and width of an offset (TIFF 6.0, section 2)."""
    order = "<" if data[:2] == b"II" else ">"
    big = b"+" in data[2:4]
    if len(data) < 16:
        return None
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    head_bytes, entry_bytes = (8, 20) if big else (2, 12)
    if at + head_bytes > len(data):
        return None
    (entries,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    end = at + head_bytes + entries * entry_bytes
    return (end, 8 if big else 4) if end <= len(data) else None


def tiff_has_more_pages(data: bytes) -> bool:
    """Whether a TIFF file's first page names a second one.

    Parameters
    ----------
    data : bytes
        Any file; False where it is no TIFF.

    Returns
    -------
    more : bool
    """
    table = _tiff_table(data) if data[:4] in _TIFF_MAGICS else None
    return table is not None and any(data[table[0] : table[0] + table[1]])


def _png_size(data: bytes) -> tuple[int, int] | None:
    if len(data) < 24 or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _png_is_complete(data: bytes) -> bool:
    """Whether the chunks run up to IEND, each with its checksum."""
    at = len(_PNG_MAGIC)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 12 + length
        if end > len(data):
            return False
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != checksum:
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end
    return False


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Canvas size (RFC 9649, sections 2.5 to 2.7); read before the decoder reserves it."""
    kind = data[12:16]
    if len(data) < 30:
        return None
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        return width, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _bmp(data: bytes) -> Container:
    offset, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        if len(data) < 26:
            return Container("BMP", None, False)
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        packing = 0
    else:
        if len(data) < 34:
            return Container("BMP", None, False)
        width, height, _, bits, packing = struct.unpack_from("<iiHHI", data, 18)
    width, height = abs(width), abs(height)
    row_bytes = (width * bits + 31) // 32 * 4
    # Run-length coded rows (1, 2) have no size by which to judge.
    whole = packing in (1, 2) or len(data) >= offset + row_bytes * height
    return Container("BMP", (width, height), whole)


def _segments(data: bytes) -> list[tuple[int, int, int]]:
    """Marker, start and end of each JPEG segment; coded data belong to their scan.

    The list ends with the end marker 0xD9, or without it where the file ends first.
    """
    found: list[tuple[int, int, int]] = []
    at = 2
    while True:
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        if at + 2 > len(data) or data[at] != 0xFF:
            return found
        marker = data[at + 1]
        if marker == 0xD9:
            found.append((marker, at, at + 2))
            return found
        if at + 4 > len(data):
            return found
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if end > len(data):
            return found
        if marker == 0xDA:
            following = _JPEG_MARKER.search(data, end)
            if following is None:
                return found
            end = following.start()
        found.append((marker, at, end))
        at = end


def _walk_jpeg(data: bytes) -> tuple[tuple[int, int] | None, bool]:
    size: tuple[int, int] | None = None
    scans = 0
    ended = False
    for marker, start, end in _segments(data):
        if marker in _JPEG_FRAMES and size is None and end - start >= 9:
            height, width = struct.unpack_from(">HH", data, start + 5)
            size = (width, height)
        scans += marker == 0xDA
        ended = marker == 0xD9
    return size, ended and scans > 0


def strip_jpeg(data: bytes) -> bytes:
    """Take all metadata out of a JPEG file and leave its pixels bit-exact.

    Parameters
    ----------
    data : bytes
        A complete JPEG file.

    Returns
    -------
    stripped : bytes
        Without EXIF, GPS, XMP, IPTC, colour profile, comments, thumbnails and
        anything behind the image.
    """
    kept = [data[:2]]
    for marker, start, end in _segments(data):
        if marker in _JPEG_KEPT_APPS:
            name, length = _JPEG_KEPT_APPS[marker]
            body = data[start + 4 : end]
            if body.startswith(name) and len(body) >= length:
                kept.append(_fixed_segment(marker, body[:length]))
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(data[start:end])
    return b"".join(kept)


def _fixed_segment(marker: int, body: bytes) -> bytes:
    if marker == 0xE0:
        body = body[:12] + b"\x00\x00"  # no thumbnail follows
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
