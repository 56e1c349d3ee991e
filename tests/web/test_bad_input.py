"""What people really send: each gets a sentence and the right status, and nothing is half kept."""

from __future__ import annotations

import http.client
import io
import shutil
import sqlite3
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from flask import Flask
from markupsafe import escape
from PIL import Image
from werkzeug.serving import make_server

from tests.conftest import Auth
from tests.web.test_upload import JSON, cases, rows, send, text_of
from utils.imaging.synthesis import field
from utils.records import AuditEntry, db
from utils.settings import Settings


@pytest.fixture
def entered(auth: Auth) -> Auth:
    auth.enter()
    return auth


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return field(11, height=240, width=320, cells=8).pixels


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb_png(side: int) -> bytes:
    """A PNG that says it is `side` pixels square and holds a few kilobytes of zeros."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(1_000_000)) for _ in range(20)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def refused(auth: Auth, data: bytes, status: int, code: str, name: str = "field.jpg") -> str:
    """Expect a refusal, as a page and as JSON, and that nothing was kept."""
    told = send(auth, (data, name), headers=JSON)
    assert (told.status_code, told.get_json()["code"]) == (status, code)
    page = send(auth, (data, name))
    assert page.status_code == status
    message = str(told.get_json()["message"])
    assert message.endswith(".")
    assert name not in message
    assert str(escape(message)) in text_of(page), "the page says the same sentence"
    assert "<form" in text_of(page), "another image can be sent from there"
    assert rows(auth.app) == []
    assert cases(auth.app) == []
    return message


def test_an_empty_file(entered: Auth) -> None:
    refused(entered, b"", 422, "empty_file")


def test_text_that_calls_itself_jpeg(entered: Auth) -> None:
    refused(entered, b"I am an image, trust me.\n" * 50, 415, "unsupported_image")


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_truncated_jpeg(entered: Auth, smear: bytes, kept: float) -> None:
    refused(entered, smear[: int(len(smear) * kept)], 422, "truncated_image")


def test_one_pixel(entered: Auth) -> None:
    refused(entered, saved(Image.new("RGB", (1, 1)), "PNG"), 422, "image_too_small")


def test_a_png_bomb(entered: Auth) -> None:
    message = refused(entered, bomb_png(30_000), 413, "image_too_large", "small.png")
    assert "30000" in message.replace(",", "").replace("\u202f", "")


def accepted(auth: Auth, data: bytes, name: str = "field.jpg") -> dict[str, Any]:
    answer = send(auth, (data, name), headers=JSON)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return dict(answer.get_json()["analysis"])


def test_a_gif_moving_or_not(entered: Auth, pixels: np.ndarray) -> None:
    frames = [Image.fromarray(pixels).convert("P") for _ in range(3)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    refused(entered, data, 415, "unsupported_image", "moving.gif")


def test_an_animated_webp_is_read_by_its_first_frame(entered: Auth, pixels: np.ndarray) -> None:
    frames = [Image.fromarray(pixels), Image.fromarray(pixels[::-1].copy())]
    data = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], quality=90)
    assert "first_frame_only" in accepted(entered, data)["flags"]


def test_cmyk(entered: Auth, pixels: np.ndarray) -> None:
    data = saved(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=92)
    assert "cmyk_converted" in accepted(entered, data)["flags"]


def test_sixteen_bit_grey(entered: Auth, pixels: np.ndarray) -> None:
    grey = pixels.mean(axis=2)
    data = saved(Image.fromarray((grey * 257).astype(np.uint16)), "PNG")
    flags = accepted(entered, data)["flags"]
    assert {"sixteen_bit_scaled", "grey_expanded"} <= set(flags)


def test_transparency(entered: Auth, pixels: np.ndarray) -> None:
    clear = np.dstack([pixels, np.full(pixels.shape[:2], 128, np.uint8)])
    assert "alpha_flattened" in accepted(entered, saved(Image.fromarray(clear), "PNG"))["flags"]


def test_a_camera_held_sideways(app: Flask, entered: Auth, pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Camera of Dr. Mustermann"
    data = saved(Image.fromarray(pixels), "JPEG", exif=exif, quality=92)
    told = accepted(entered, data)
    assert "exif_rotated" in told["flags"]
    (row,) = rows(app)
    assert (row.width_px, row.height_px) == (240, 320)
    original = entered.client.get(f"{told['url']}/layers/original").data
    assert b"Mustermann" not in original
    with Image.open(io.BytesIO(original)) as picture:
        assert picture.size == (240, 320)
        assert not picture.getexif()


def test_the_content_decides_and_not_the_name(
    app: Flask, entered: Auth, pixels: np.ndarray
) -> None:
    accepted(entered, saved(Image.fromarray(pixels), "PNG"), "field.jpg")
    accepted(entered, saved(Image.fromarray(pixels[::-1].copy()), "TIFF"), "field.txt")
    assert [row.format for row in rows(app)] == ["PNG", "TIFF"]


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "..\\..\\boot.ini",
        "/etc/shadow",
        "🔬 Präparat №7.jpg",
        "a" * 5000 + ".jpg",
        "line%0Abreak.jpg",
        "C:\\fakepath\\field.jpg",
    ],
)
def test_names_lead_nowhere(entered: Auth, smear: bytes, name: str, settings: Settings) -> None:
    before = set(settings.instance_dir.parent.iterdir())
    accepted(entered, smear, name)
    assert set(settings.instance_dir.parent.iterdir()) == before


@pytest.fixture
def server(app: Flask) -> Any:
    """The application on a real socket, a thread for each request."""
    running = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def _post(server: Any, cookie: str, token: str, data: bytes, key: str) -> tuple[int, bytes]:
    edge = "edge-of-a-part"
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in (("csrf_token", token), ("upload_key", key))
    ]
    parts.append(
        f'--{edge}\r\nContent-Disposition: form-data; name="images"; filename="image"\r\n'
        "Content-Type: image/jpeg\r\n\r\n".encode()
        + data
        + b"\r\n"
    )
    body = b"".join(parts) + f"--{edge}--\r\n".encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(
        "POST",
        "/upload",
        body,
        {
            "Content-Type": f"multipart/form-data; boundary={edge}",
            "Cookie": cookie,
            "Accept": "application/json",
        },
    )
    answer = connection.getresponse()
    told = answer.status, answer.read()
    connection.close()
    return told


def test_two_identical_uploads_at_once_are_one_analysis(
    app: Flask, entered: Auth, smear: bytes, server: Any
) -> None:
    token = entered.token()
    cookie = entered.client.get_cookie("marrow-find", domain="localhost")
    assert cookie is not None
    start = threading.Barrier(4)
    told: list[tuple[int, bytes]] = []

    def upload() -> None:
        start.wait()
        told.append(_post(server, f"marrow-find={cookie.value}", token, smear, "same-key-1"))

    threads = [threading.Thread(target=upload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status for status, _ in told] == [200] * 4
    assert len({body for _, body in told}) == 1
    assert (len(rows(app)), len(cases(app))) == (1, 1)


def test_a_missing_network(make_app: Callable[..., Flask], smear: bytes, tmp_path: Path) -> None:
    app = make_app(models_dir=tmp_path / "none")
    auth = Auth(app, app.test_client())
    auth.enter()
    message = refused(auth, smear, 503, "network_unavailable")
    assert "all4" in message


def test_a_network_with_one_changed_byte(
    make_app: Callable[..., Flask], settings: Settings, smear: bytes, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(settings.models_dir, models)
    (graph,) = models.rglob("network.onnx")
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    app = make_app(models_dir=models)
    auth = Auth(app, app.test_client())
    auth.enter()
    refused(auth, smear, 503, "network_corrupt")
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    accepted(auth, smear)


def test_a_full_disk(make_app: Callable[..., Flask], smear: bytes) -> None:
    app = make_app(lowest_free_bytes=10**18)
    auth = Auth(app, app.test_client())
    auth.enter()
    refused(auth, smear, 507, "storage_full")


def test_a_database_that_another_process_holds(
    make_app: Callable[..., Flask], settings: Settings, smear: bytes
) -> None:
    app = make_app(database_busy_ms=50)
    auth = Auth(app, app.test_client())
    auth.enter()
    token = auth.token()
    lock = sqlite3.connect(settings.instance_dir / "marrow-find.sqlite3")
    lock.execute("BEGIN IMMEDIATE")
    try:
        answer = auth.client.post(
            "/upload",
            data={"csrf_token": token, "images": (io.BytesIO(smear), "a")},
            headers=JSON,
        )
    finally:
        lock.rollback()
        lock.close()
    assert (answer.status_code, answer.get_json()["code"]) == (503, "database_busy")
    assert answer.headers["Retry-After"]
    assert rows(app) == []
    accepted(auth, smear)


def test_one_bad_image_takes_nothing_from_the_others(
    app: Flask, entered: Auth, smear: bytes, pixels: np.ndarray
) -> None:
    good = saved(Image.fromarray(pixels), "PNG")
    answer = send(entered, (bomb_png(30_000), "a"), (smear, "b"), (smear[:500], "c"), (good, "d"))
    assert answer.status_code == 303
    assert len(rows(app)) == 2
    with app.app_context():
        kept = db.session.scalars(
            sa.select(AuditEntry).where(AuditEntry.action == "analysis.create")
        ).all()
    assert len(kept) == 2
    page = text_of(entered.client.get(answer.location))
    assert "Image 1:" in page
    assert "Image 3:" in page
