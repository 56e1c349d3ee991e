"""Bytes that people upload, by mistake or on purpose."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, PngImagePlugin

from utils.errors import (
    EmptyFile,
    ImageTooLarge,
    ImageTooSmall,
    InvalidImage,
    TruncatedImage,
    UnsupportedImage,
)
from utils.imaging import synthesis
from utils.imaging.decode import (
    SYNTHETIC_KEY,
    Limits,
    clean_copy,
    decode,
    encode_jpeg,
    encode_png,
)

LIMITS = Limits(max_bytes=10_000_000, max_pixels=50_000_000)
SMEAR = synthesis.field(1, height=96, width=128, cells=3).pixels


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def smear(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(SMEAR).convert(mode)


def tiff(compression: str | None) -> bytes:
    return encoded(smear(), "TIFF", **({"compression": compression} if compression else {}))


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + png_chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    )


WHOLE: dict[str, tuple[bytes, str]] = {
    "jpeg": (encoded(smear(), "JPEG", quality=95), "JPEG"),
    "progressive jpeg": (encoded(smear(), "JPEG", quality=95, progressive=True), "JPEG"),
    "png": (encoded(smear(), "PNG"), "PNG"),
    "tiff": (tiff(None), "TIFF"),
    "tiff lzw": (tiff("tiff_lzw"), "TIFF"),
    "tiff deflate": (tiff("tiff_adobe_deflate"), "TIFF"),
    "tiff jpeg": (tiff("jpeg"), "TIFF"),
    "bmp": (encoded(smear(), "BMP"), "BMP"),
    "webp": (encoded(smear(), "WEBP", quality=95), "WEBP"),
    "webp lossless": (encoded(smear(), "WEBP", lossless=True), "WEBP"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_every_format_is_read_by_content(name: str) -> None:
    data, kind = WHOLE[name]
    decoded = decode(data, LIMITS)
    assert decoded.format == kind
    assert decoded.notes == ()
    assert decoded.pixels.shape == SMEAR.shape
    assert decoded.pixels.dtype == np.uint8
    assert np.abs(decoded.pixels.astype(int) - SMEAR).mean() < 6


@pytest.mark.parametrize(
    "name", ["png", "tiff", "tiff lzw", "tiff deflate", "bmp", "webp lossless"]
)
def test_lossless_formats_are_exact(name: str) -> None:
    np.testing.assert_array_equal(decode(WHOLE[name][0], LIMITS).pixels, SMEAR)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("lenient", [False, True])
def test_a_cut_file_is_never_half_decoded(
    name: str, share: float, lenient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = WHOLE[name][0]
    # Another library in the process may have switched Pillow to lenient.
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    with pytest.raises((TruncatedImage, UnsupportedImage)) as caught:
        decode(data[: max(12, int(len(data) * share))], LIMITS)
    if len(data) * share >= 64:
        assert isinstance(caught.value, TruncatedImage)


def test_a_photograph_with_a_thumbnail_that_is_cut_is_refused() -> None:
    # The thumbnail in the metadata holds an end marker of its own.
    exif = b"Exif\x00\x00" + encoded(smear().resize((32, 24)), "JPEG")
    data = encoded(smear(), "JPEG", exif=exif)
    assert data.count(b"\xff\xd9") == 2
    assert decode(data, LIMITS).pixels.shape == SMEAR.shape
    with pytest.raises(TruncatedImage):
        decode(data[:-40], LIMITS)


REFUSED: dict[str, tuple[bytes, type[InvalidImage]]] = {
    "empty": (b"", EmptyFile),
    "text": (b"Dear colleague, please find attached", UnsupportedImage),
    "text that starts like a bitmap": (b"BMI of the patient: 24, no image here", UnsupportedImage),
    "html": (b"<!doctype html><svg onload=alert(1)>", UnsupportedImage),
    "pdf": (b"%PDF-1.7\n1 0 obj", UnsupportedImage),
    "zip": (b"PK\x03\x04" + bytes(60), UnsupportedImage),
    "gif": (encoded(smear("P"), "GIF"), UnsupportedImage),
    "animated gif": (
        encoded(smear("P"), "GIF", save_all=True, append_images=[smear("P").rotate(90)]),
        UnsupportedImage,
    ),
    "one pixel": (encoded(Image.new("RGB", (1, 1)), "PNG"), ImageTooSmall),
    "thin": (encoded(Image.new("RGB", (500, 31)), "PNG"), ImageTooSmall),
    "float tiff": (encoded(Image.new("F", (64, 64)), "TIFF"), UnsupportedImage),
    "32-bit tiff": (encoded(Image.new("I", (64, 64)), "TIFF"), UnsupportedImage),
    "magic alone": (b"\xff\xd8\xff\xe0", TruncatedImage),
    "png magic alone": (b"\x89PNG\r\n\x1a\n", TruncatedImage),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_refused_with_a_sentence(name: str) -> None:
    data, error = REFUSED[name]
    with pytest.raises(error) as caught:
        decode(data, LIMITS)
    assert type(caught.value) is error
    assert caught.value.message.endswith(".")
    assert caught.value.code == error.default_code


def test_a_file_over_the_byte_limit_is_refused() -> None:
    data = WHOLE["png"][0]
    with pytest.raises(ImageTooLarge):
        decode(data, Limits(max_bytes=len(data) - 1, max_pixels=50_000_000))
    decode(data, Limits(max_bytes=len(data), max_pixels=96 * 128))


def bomb_png() -> bytes:
    rows = zlib.compress(bytes(30_000 * 3 + 1) * 400, 9)
    return png_header(30_000, 30_000) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def bomb_webp() -> bytes:
    side = (16_383 - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + side + side + bytes(16)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bomb_bmp() -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, 30_000, 30_000, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def bomb_jpeg() -> bytes:
    data = bytearray(WHOLE["jpeg"][0])
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    return bytes(data)


def bomb_tiff() -> bytes:
    data = bytearray(WHOLE["tiff"][0])
    for tag in (256, 257):
        for kind in (3, 4):
            at = data.find(struct.pack("<HH", tag, kind))
            if at >= 0:
                data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 40_000)
    return bytes(data)


@pytest.mark.parametrize("bomb", [bomb_png, bomb_webp, bomb_bmp, bomb_jpeg, bomb_tiff])
def test_pixel_bombs_cost_nothing(bomb: Callable[[], bytes]) -> None:
    data = bomb()
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(ImageTooLarge):
        decode(data, LIMITS)
    spent_s = time.process_time() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert spent_s < 0.05
    assert peak < 5_000_000


@pytest.mark.parametrize(
    ("chunk", "behind"), [(b"zTXt", False), (b"zTXt", True), (b"iCCP", False), (b"iCCP", True)]
)
def test_bombs_in_metadata_are_refused(chunk: bytes, behind: bool) -> None:
    plain = WHOLE["png"][0]
    body = b"name\x00\x00" + zlib.compress(bytes(40_000_000), 9)
    at = plain.index(b"IEND") - 4 if behind else 33
    with pytest.raises(ImageTooLarge):
        decode(plain[:at] + png_chunk(chunk, body) + plain[at:], LIMITS)


@pytest.mark.parametrize("limit", [96 * 128 // 2, 10**12, None])
def test_the_process_wide_pixel_limit_plays_no_part(
    limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    for data, _ in WHOLE.values():
        assert decode(data, LIMITS).pixels.shape == SMEAR.shape
    with pytest.raises(ImageTooLarge):
        decode(bomb_png(), LIMITS)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_what_pillow_itself_finds_too_large_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageTooLarge):
        decode(WHOLE["tiff"][0], LIMITS)


def noted(image: Image.Image, kind: str, note: str, **options: object) -> np.ndarray:
    decoded = decode(encoded(image, kind, **options), LIMITS)
    assert note in decoded.notes
    assert decoded.pixels.shape[2] == 3
    return decoded.pixels


def test_a_file_that_says_it_is_synthetic_is_noted() -> None:
    about = PngImagePlugin.PngInfo()
    about.add_text(SYNTHETIC_KEY, "Generated by a network.")
    noted(smear("RGB"), "PNG", "synthetic", pnginfo=about)
    assert "synthetic" not in decode(encoded(smear("RGB"), "PNG"), LIMITS).notes


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted(kind: str) -> None:
    pixels = noted(smear("CMYK"), kind, "cmyk_converted")
    assert np.abs(pixels.astype(int) - SMEAR).mean() < 8


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_is_expanded(mode: str) -> None:
    pixels = noted(smear(mode), "PNG", "grey_expanded")
    assert (pixels[..., 0] == pixels[..., 2]).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_sixteen_bit_grey_is_scaled_from_the_cameras_range(kind: str, bits: int) -> None:
    top = (1 << bits) - 1
    ramp = np.linspace(0, top, 64 * 64).reshape(64, 64).astype(np.uint16)
    pixels = noted(Image.fromarray(ramp), kind, "sixteen_bit_scaled")
    np.testing.assert_allclose(pixels[..., 0], ramp / top * 255, atol=0.51)


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("bits", [12, 16])
def test_sixteen_bit_colour_is_scaled_from_the_cameras_range(extension: str, bits: int) -> None:
    import cv2

    top = (1 << bits) - 1
    deep = (SMEAR.astype(np.float64) / 255 * top).round().astype(np.uint16)
    deep[0, 0] = top
    data = cv2.imencode(extension, deep[..., ::-1])[1].tobytes()
    decoded = decode(data, LIMITS)
    assert decoded.notes == ("sixteen_bit_scaled",)
    np.testing.assert_allclose(decoded.pixels[1:], SMEAR[1:], atol=1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_becomes_white(mode: str) -> None:
    image = smear("RGBA")
    image.putalpha(
        Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), [64, 64], 1).repeat(96, 0))
    )
    if mode == "LA":
        image = image.convert("LA")
    kind = "TIFF" if mode == "LA" else "PNG"
    if mode == "PA":
        image = image.quantize(64)
    pixels = noted(image, kind, "alpha_flattened")
    assert (pixels[:, :60] == 255).all()
    assert pixels[:, 68:].min() < 200


def test_palettes_become_colours() -> None:
    decoded = decode(encoded(smear().quantize(128), "PNG"), LIMITS)
    assert decoded.notes == ()
    assert np.abs(decoded.pixels.astype(int) - SMEAR).mean() < 8


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_cameras_rotation_is_honoured(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98}}.get(kind, {})
    pixels = noted(smear(), kind, "exif_rotated", exif=exif.tobytes(), **lossless)
    turns: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        2: np.fliplr,
        3: lambda upright: np.rot90(upright, 2),
        4: np.flipud,
        5: lambda upright: np.swapaxes(upright, 0, 1),
        6: lambda upright: np.rot90(upright, -1),
        7: lambda upright: np.rot90(np.swapaxes(upright, 0, 1), 2),
        8: np.rot90,
    }
    wanted = turns[orientation](SMEAR)
    assert pixels.shape == wanted.shape
    assert np.abs(pixels.astype(int) - wanted).mean() < 5


def wide_profile() -> bytes:
    """A display profile with red and blue exchanged: no mistake about whether it was applied."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    first, last = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[first : first + 4], profile[last : last + 4] = b"bXYZ", b"rXYZ"
    name = "sRGB built-in".encode("utf-16-be")
    return bytes(profile.replace(name, "RedBlueTurned".encode("utf-16-be")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_an_embedded_colour_profile_is_applied(kind: str) -> None:
    image = Image.new("RGB", (64, 64), (220, 40, 30))
    pixels = noted(image, kind, "profile_applied", icc_profile=wide_profile())
    assert pixels[32, 32, 2] > 180 > 90 > pixels[32, 32, 0]


def test_an_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    decoded = decode(encoded(smear(), "PNG", icc_profile=profile), LIMITS)
    assert decoded.notes == ()
    np.testing.assert_array_equal(decoded.pixels, SMEAR)


@pytest.mark.parametrize("profile", [b"no profile at all", bytes(200)])
def test_a_broken_profile_is_noted_and_no_more(profile: bytes) -> None:
    decoded = decode(encoded(smear(), "PNG", icc_profile=profile), LIMITS)
    assert decoded.notes == ("profile_broken",)
    np.testing.assert_array_equal(decoded.pixels, SMEAR)


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP"])
def test_the_first_of_several_frames_is_read(kind: str) -> None:
    other = Image.new("RGB", smear().size, (9, 9, 9))
    options = {"lossless": True} if kind == "WEBP" else {}
    pixels = noted(
        smear(), kind, "first_frame_only", save_all=True, append_images=[other], **options
    )
    assert np.abs(pixels.astype(int) - SMEAR).mean() < 3


def secretive(kind: str) -> bytes:
    exif = Image.Exif()
    exif[270] = "SECRET patient"
    exif.get_ifd(0x8825)[1] = "N"
    options: dict[str, object] = {"exif": exif.tobytes()}
    if kind == "JPEG":
        options["comment"] = b"SECRET comment"
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("Author", "SECRET name")
        options["pnginfo"] = info
    return encoded(smear(), kind, **options) + b"SECRET behind the end"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_stored_copy_holds_no_metadata(kind: str) -> None:
    data = secretive(kind)
    assert b"SECRET" in data
    decoded = decode(data, LIMITS)
    copy, media_type = clean_copy(decoded)
    assert b"SECRET" not in copy
    assert b"Exif" not in copy
    assert media_type == ("image/jpeg" if kind == "JPEG" else "image/png")
    again = decode(copy, LIMITS)
    assert again.notes == ()
    np.testing.assert_array_equal(again.pixels, decoded.pixels)


def test_a_plain_jpeg_is_stored_without_a_second_generation() -> None:
    decoded = decode(WHOLE["progressive jpeg"][0], LIMITS)
    copy, _ = clean_copy(decoded)
    assert len(copy) <= len(WHOLE["progressive jpeg"][0])
    np.testing.assert_array_equal(decode(copy, LIMITS).pixels, decoded.pixels)


def test_a_turned_jpeg_is_stored_upright() -> None:
    exif = Image.Exif()
    exif[274] = 6
    decoded = decode(encoded(smear(), "JPEG", quality=95, exif=exif.tobytes()), LIMITS)
    copy, media_type = clean_copy(decoded)
    again = decode(copy, LIMITS)
    assert (media_type, again.notes) == ("image/jpeg", ())
    assert np.abs(again.pixels.astype(int) - decoded.pixels).mean() < 2


def test_encoders_leave_their_input_alone() -> None:
    before = SMEAR.copy()
    np.testing.assert_array_equal(decode(encode_png(SMEAR), LIMITS).pixels, SMEAR)
    assert np.abs(decode(encode_jpeg(SMEAR), LIMITS).pixels.astype(int) - SMEAR).mean() < 6
    np.testing.assert_array_equal(SMEAR, before)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(WHOLE)),
    flips=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_files_end_in_an_image_or_in_a_sentence(
    name: str, flips: list[tuple[float, int]]
) -> None:
    data = bytearray(WHOLE[name][0])
    for share, value in flips:
        data[int(share * len(data))] = value
    limits = Limits(max_bytes=1_000_000, max_pixels=200_000)
    try:
        decoded = decode(bytes(data), limits)
    except InvalidImage:
        return
    height, width, channels = decoded.pixels.shape
    assert channels == 3
    assert height * width <= limits.max_pixels
    assert min(height, width) >= limits.min_side_px


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"\xff\xd8\xff", b"BM", b"II*\x00", b"RIFF"]))
def test_any_bytes_end_in_a_sentence(tail: bytes, head: bytes) -> None:
    with pytest.raises(InvalidImage):
        decode(head + tail, LIMITS)
