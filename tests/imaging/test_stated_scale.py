"""The size of a pixel as files state it: microscopes' are believed, printers' are not."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

from utils.imaging.decode import DecodedImage, Limits, clean_copy, decode

LIMITS = Limits(max_bytes=10_000_000, max_pixels=1_000_000)
PICTURE = Image.fromarray(np.full((48, 64, 3), 200, np.uint8))
DESCRIPTION, X, Y, UNIT = 270, 282, 283, 296
INCH, CM = 2, 3


def read(data: bytes) -> DecodedImage:
    return decode(data, LIMITS)


def encoded(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(described: str = "", unit: int | None = None, x: float = 0.0, y: float = 0.0) -> bytes:
    tags = ImageFileDirectory_v2()
    if described:
        tags[DESCRIPTION] = described
    if x:
        tags[X], tags[Y] = IFDRational(round(x * 1000), 1000), IFDRational(round(y * 1000), 1000)
    if unit is not None:
        tags[UNIT] = unit
    return encoded("TIFF", tiffinfo=tags)


def ome(**said: str) -> str:
    attributes = " ".join(f'{name}="{value}"' for name, value in said.items())
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/'
        f'OME/2016-06"><Image ID="Image:0" Name="SECRET"><Pixels ID="Pixels:0" SizeX="64" '
        f"{attributes}><Channel/></Pixels></Image></OME>"
    )


def png_with(body: bytes) -> bytes:
    plain = encoded("PNG")
    chunk = struct.pack(">I", len(body)) + b"pHYs" + body
    chunk += struct.pack(">I", zlib.crc32(b"pHYs" + body))
    return plain[:33] + chunk + plain[33:]


def jpeg_with(unit: int, across: int, down: int) -> bytes:
    data = bytearray(encoded("JPEG"))
    at = data.index(b"JFIF\x00") + 7
    data[at : at + 5] = struct.pack(">BHH", unit, across, down)
    return bytes(data)


BELIEVED = {
    "tiff, centimetres": (tiff(unit=CM, x=100_000, y=100_000), 0.1),
    "tiff, inches": (tiff(unit=INCH, x=254_000, y=254_000), 0.1),
    "imagej": (tiff("ImageJ=1.53t\nunit=um\nmin=0.0", 1, 10, 10), 0.1),
    "imagej, micron": (tiff("ImageJ=1.53t\nunit=micron\n", 1, 4, 4), 0.25),
    "imagej, escaped": (tiff("ImageJ=1.53t\nunit=\\u00B5m\n", 1, 4, 4), 0.25),
    "imagej, nm": (tiff("ImageJ=1.53t\nunit=nm\n", 1, 0.01, 0.01), 0.1),
    "ome": (tiff(ome(PhysicalSizeX="0.094", PhysicalSizeY="0.094")), 0.094),
    "ome, nm": (tiff(ome(PhysicalSizeX="94.0", PhysicalSizeXUnit="nm")), 0.094),
    "ome before resolution": (tiff(ome(PhysicalSizeX="0.2"), CM, 100_000, 100_000), 0.2),
    "aperio": (tiff("Aperio Image Library v12\n64x48|AppMag = 40|MPP = 0.2520|User = x"), 0.252),
    "png": (png_with(struct.pack(">IIB", 10_000_000, 10_000_000, 1)), 0.1),
    "jpeg, centimetres": (jpeg_with(2, 50_000, 50_000), 0.2),
    "jpeg, inches": (jpeg_with(1, 65_000, 65_000), 25_400 / 65_000),
}

IGNORED = {
    "tiff without": tiff(),
    "tiff, 72 dpi": tiff(unit=INCH, x=72, y=72),
    "tiff, 300 dpi": tiff(unit=INCH, x=300, y=300),
    "tiff, no unit": tiff(unit=1, x=100_000, y=100_000),
    "tiff, oblong": tiff(unit=CM, x=100_000, y=50_000),
    "tiff, too fine": tiff(unit=CM, x=1_000_000, y=1_000_000),
    "imagej without a unit": tiff("ImageJ=1.53t\nmin=0.0", CM, 100_000, 100_000),
    "imagej, pixels": tiff("ImageJ=1.53t\nunit=pixel\n", 1, 10, 10),
    "ome, pixels": tiff(ome(PhysicalSizeX="0.1", PhysicalSizeXUnit="pixel")),
    "ome, oblong": tiff(ome(PhysicalSizeX="0.1", PhysicalSizeY="0.2")),
    "ome, no number": tiff(ome(PhysicalSizeX="about 0.1")),
    "ome, not finite": tiff(ome(PhysicalSizeX="nan")),
    "ome, negative": tiff(ome(PhysicalSizeX="-0.1")),
    "png without": encoded("PNG"),
    "png, 300 dpi": encoded("PNG", dpi=(300, 300)),
    "png, no unit": png_with(struct.pack(">IIB", 10_000_000, 10_000_000, 0)),
    "png, nothing a metre": png_with(struct.pack(">IIB", 0, 0, 1)),
    "jpeg without": encoded("JPEG"),
    "jpeg, 300 dpi": encoded("JPEG", dpi=(300, 300)),
    "jpeg, aspect alone": jpeg_with(0, 50_000, 50_000),
    "jpeg, nothing": jpeg_with(2, 0, 0),
    "bmp": encoded("BMP"),
    "webp": encoded("WEBP"),
}


@pytest.mark.parametrize("name", BELIEVED)
def test_what_a_microscope_writes_is_believed(name: str) -> None:
    data, um_per_px = BELIEVED[name]
    assert read(data).um_per_px == pytest.approx(um_per_px, rel=1e-3)


@pytest.mark.parametrize("name", IGNORED)
def test_what_says_nothing_of_a_microscope_is_not(name: str) -> None:
    assert read(IGNORED[name]).um_per_px is None


def test_nothing_else_of_the_description_is_kept() -> None:
    data = tiff(ome(PhysicalSizeX="0.1"))
    assert b"SECRET" in data
    decoded = read(data)
    copy, _ = clean_copy(decoded)
    assert decoded.um_per_px == 0.1
    assert b"SECRET" not in copy
    assert "SECRET" not in repr(decoded)
