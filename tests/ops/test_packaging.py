"""What is installed: locked, hashed, from no address written down; slim where it serves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from utils.settings import PROJECT_ROOT

PROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = (
    "requirements.txt",
    "requirements-web.txt",
    "requirements-dev.txt",
    "requirements-node.txt",
)


def _locked(name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in (PROJECT_ROOT / name).read_text(encoding="utf-8").splitlines():
        pinned = re.match(r"([a-z0-9-]+)(?:\[[^]]*\])?==([^ ;]+)", line)
        if pinned:
            found.setdefault(pinned.group(1), set()).add(pinned.group(2))
    return found


def _names(requirements: list[str]) -> set[str]:
    return {re.match(r"[A-Za-z0-9-]+", line).group(0).lower() for line in requirements}  # type: ignore[union-attr]


@pytest.mark.parametrize("name", LOCKS)
def test_locks_have_hashes_and_no_address(name: str) -> None:
    text = (PROJECT_ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"https?:|--index|--find-links|file:|/home/|/tmp/", text)
    assert _locked(name)
    entries = re.split(r"(?m)^(?=[a-z0-9-]+(?:\[[^]]*\])?==)", text)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)


def test_every_direct_dependency_is_bounded_and_locked() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    base = PROJECT["project"]["dependencies"]
    for requirement in [*base, *extras["train"], *extras["test"]]:
        assert re.search(">=|==", requirement), requirement
    assert _names(base) <= set(_locked("requirements-web.txt"))
    assert _names([*base, *extras["train"]]) <= set(_locked("requirements.txt"))
    assert _names([*base, *extras["train"], *extras["test"]]) <= set(
        _locked("requirements-dev.txt")
    )


def test_a_web_replica_carries_no_training_and_no_test_tools() -> None:
    heavy = {
        "tensorflow",
        "tensorflow-cpu",
        "keras",
        "scikit-learn",
        "pytest",
        "playwright",
        "mypy",
    }
    assert not heavy & set(_locked("requirements-web.txt"))
    assert {"tensorflow", "tensorflow-cpu"} <= set(_locked("requirements.txt"))


def test_the_locks_agree_with_each_other() -> None:
    everything = _locked("requirements-dev.txt")
    for name in ("requirements.txt", "requirements-web.txt"):
        for package, versions in _locked(name).items():
            assert versions <= everything[package], package


def test_browser_code_is_locked_without_addresses() -> None:
    lock = json.loads((PROJECT_ROOT / "package-lock.json").read_text(encoding="utf-8"))
    package = json.loads((PROJECT_ROOT / "package.json").read_text(encoding="utf-8"))
    installed = {place: entry for place, entry in lock["packages"].items() if place}
    wanted = package["dependencies"] | package["devDependencies"]
    assert {place.removeprefix("node_modules/") for place in installed} >= set(wanted)
    for entry in installed.values():
        assert "resolved" not in entry
        assert entry["integrity"].startswith("sha512-")
    for name, version in wanted.items():
        assert installed[f"node_modules/{name}"]["version"] == version


def test_no_browser_code_of_others_is_tracked() -> None:
    ignored = (PROJECT_ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert {"static/vendor/", "node_modules/", "instance/", ".venv/"} <= set(ignored)


def test_the_image_is_not_root_and_checks_its_health() -> None:
    text = (PROJECT_ROOT / "Dockerfile").read_text(encoding="utf-8")
    final = text[text.rindex("\nFROM ") :]
    assert "\nUSER marrow\n" in final
    assert final.index("USER marrow") < final.index("CMD")
    assert "HEALTHCHECK" in final
    assert "/health" in final
    assert "requirements-web.txt" in text
    assert "COPY requirements.txt" not in text
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (PROJECT_ROOT / name).exists(), name


def test_the_image_takes_only_what_it_names() -> None:
    allowed = (PROJECT_ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert allowed[0] == "*"
    copied = {
        name
        for source in re.findall(
            r"^COPY (?!--from)(.+) \S+$", (PROJECT_ROOT / "Dockerfile").read_text("utf-8"), re.M
        )
        for name in source.split()
    }
    assert copied <= {line.removeprefix("!").rstrip("/") for line in allowed}


def test_the_makefile_only_sets_up_when_a_lock_changed(tmp_path: Path) -> None:
    """In a copy with an empty lock: the second run of the same target installs nothing."""
    for name in ("Makefile", "package.json", "package-lock.json"):
        (tmp_path / name).write_bytes((PROJECT_ROOT / name).read_bytes())
    (tmp_path / "requirements.txt").write_text("# nothing\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    target = ".venv/.installed"

    def make() -> str:
        done = subprocess.run(
            ["make", target], cwd=tmp_path, env=environment, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        return done.stdout

    assert "Installing" in make()
    assert "up to date" in make()
    future = (tmp_path / target).stat().st_mtime + 5
    os.utime(tmp_path / "requirements.txt", (future, future))
    assert "Installing" in make()


def test_ci_is_one_readable_script() -> None:
    script = PROJECT_ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert "make test" in script.read_text(encoding="utf-8")
