"""/health: fit to serve, or not, and what is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from flask import Flask

from tests.conftest import close_app
from utils.records import db


def _checks(app: Flask) -> tuple[int, dict[str, str]]:
    answer = app.test_client().get("/health")
    assert answer.is_json
    assert answer.json["status"] == ("ok" if answer.status_code == 200 else "unfit")
    return answer.status_code, answer.json["checks"]


def test_all_is_well(app: Flask) -> None:
    assert _checks(app) == (200, {"database": "ok", "disk": "ok", "network": "ok"})


def test_a_disk_below_its_reserve(make_app: Callable[..., Flask]) -> None:
    status, checks = _checks(make_app(lowest_free_bytes=10**18))
    assert (status, checks["disk"], checks["database"]) == (503, "storage_full", "ok")


def test_a_missing_network(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    status, checks = _checks(make_app(models_dir=tmp_path / "nothing"))
    assert (status, checks["network"]) == (503, "network_unavailable")


def test_a_network_that_comes_later_is_found(
    make_app: Callable[..., Flask], tmp_path: Path, models_dir: Path
) -> None:
    app = make_app(models_dir=tmp_path / "later")
    assert _checks(app)[0] == 503
    shutil.copytree(models_dir, tmp_path / "later")
    assert _checks(app)[0] == 200


def test_a_network_with_one_byte_changed(
    make_app: Callable[..., Flask], tmp_path: Path, models_dir: Path
) -> None:
    shutil.copytree(models_dir, tmp_path / "damaged")
    place = next((tmp_path / "damaged").rglob("network.onnx"))
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)
    status, checks = _checks(make_app(models_dir=tmp_path / "damaged"))
    assert (status, checks["network"]) == (503, "network_corrupt")


def test_a_database_that_went_away(app: Flask, tmp_path: Path) -> None:
    close_app(app)
    shutil.rmtree(tmp_path / "instance")
    status, checks = _checks(app)
    assert status == 503
    assert checks["database"] != "ok"
    with app.app_context():
        db.session.remove()


def test_it_tells_no_place_and_no_secret(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    app = make_app(models_dir=tmp_path / "nothing")
    text = app.test_client().get("/health").get_data(as_text=True)
    assert str(tmp_path) not in text
    assert app.config["SECRET_KEY"] not in text
    assert "sqlite" not in text
