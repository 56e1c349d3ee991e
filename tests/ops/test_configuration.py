"""Settings: described, documented, refused where they make no sense."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from utils.errors import InvalidInput
from utils.settings import (
    ENV_PREFIX,
    PROJECT_ROOT,
    SERVER_VARIABLES,
    Settings,
    ensure_secret_key,
    load_settings,
)

DOCUMENT = (PROJECT_ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


def _variable(name: str) -> str:
    field = Settings.model_fields[name]
    alias = field.validation_alias
    return str(alias.choices[0]) if alias is not None else f"{ENV_PREFIX}{name.upper()}"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_described_and_documented(name: str) -> None:
    assert Settings.model_fields[name].description
    row = re.search(rf"^\| `{_variable(name)}` \| ([^|]*) \|", DOCUMENT, re.MULTILINE)
    assert row, f"{_variable(name)} is missing in docs/configuration.md"
    default = Settings.model_fields[name].default
    if isinstance(default, int | float) and not isinstance(default, bool):
        assert f"`{default:g}`" == row.group(1) or f"`{default}`" == row.group(1)


def test_nothing_else_is_documented() -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", DOCUMENT, re.MULTILINE))
    assert documented == {_variable(name) for name in Settings.model_fields} | SERVER_VARIABLES


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARROW_FIND_MAX_IMAGE_BYTES", "5000000")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@h/d")
    monkeypatch.setenv("SECRET_KEY", "s" * 32)
    monkeypatch.setenv("MARROW_FIND_LABORATORY_NAME", "")
    settings = load_settings()
    assert settings.max_image_bytes == 5_000_000
    assert settings.effective_database_url == "postgresql+psycopg://u:p@h/d"
    assert ensure_secret_key(settings) == "s" * 32
    assert settings.laboratory_name == ""


@pytest.mark.parametrize(
    ("variable", "value", "word"),
    [
        ("MARROW_FIND_MAX_IMAGE_BYTES", "many", "max_image_bytes"),
        ("MARROW_FIND_MAX_IMAGE_BYTES", "0", "max_image_bytes"),
        ("MARROW_FIND_PASSWORD_ROUNDS", "100000", "600000"),
        ("MARROW_FIND_REGISTRATION", "everybody", "registration"),
        ("MARROW_FIND_PUBLIC_URL", "marrow.example.org", "http"),
        ("MARROW_FIND_FIELD_NETWORK", "../secrets", "field_network"),
        ("SECRET_KEY", "dev", "32 characters"),
        ("MARROW_FIND_SECURE_COOKIE", "1", "MARROW_FIND_SECURE_COOKIE"),
        ("MARROW_FIND_SECRET_KEY", "s" * 32, "MARROW_FIND_SECRET_KEY"),
    ],
)
def test_what_makes_no_sense_stops_the_start_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, word: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidInput) as refused:
        load_settings()
    assert word in refused.value.message
    assert refused.value.code == "settings"
    if variable.endswith("SECRET_KEY"):
        assert value not in refused.value.message.split("called")[0]


def test_settings_cannot_be_changed_and_do_not_print_the_secret() -> None:
    settings = Settings(secret_key="s" * 32)
    with pytest.raises(ValueError, match="frozen"):
        settings.max_image_bytes = 1  # type: ignore[misc]
    assert "s" * 32 not in repr(settings)


@pytest.mark.parametrize(
    ("given", "secure"),
    [
        ({}, False),
        ({"public_url": "https://a.example/"}, True),
        ({"public_url": "http://a.example"}, False),
        ({"secure_cookies": True}, True),
        ({"public_url": "https://a.example", "secure_cookies": False}, False),
    ],
)
def test_secure_cookies_follow_the_public_address(given: dict, secure: bool) -> None:
    assert Settings(**given).cookies_are_secure is secure


def test_the_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    settings = Settings(instance_dir=tmp_path / "instance")
    secret = ensure_secret_key(settings)
    assert len(secret) >= 32
    assert ensure_secret_key(settings) == secret
    place = tmp_path / "instance" / "secret_key"
    assert place.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in place.parent.iterdir()] == ["secret_key"]
    place.write_text("short")
    with pytest.raises(InvalidInput, match="too short"):
        ensure_secret_key(settings)


def test_relative_folders_are_the_projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings().instance_dir == PROJECT_ROOT / "instance"
    assert Settings(instance_dir=tmp_path).instance_dir == tmp_path
