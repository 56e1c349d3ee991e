"""The arrows of DESIGN: nothing points back, and what serves knows nothing of training."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from utils.settings import PROJECT_ROOT

UTILS = PROJECT_ROOT / "utils"
# A room may import the rooms to the right of it, itself, and the two that everybody knows.
MAY_IMPORT = {
    "errors": set(),
    "settings": {"errors"},
    "imaging": {"errors"},
    "networks": {"errors", "imaging"},
    "records": {"errors", "settings"},
    "reports": {"errors"},
    "tutor": {"errors"},
    "workflow": {"errors", "settings", "imaging", "networks", "records", "reports", "tutor"},
    "jobs": {"errors", "settings", "imaging", "networks", "records", "reports", "workflow"},
    "web": {"errors", "settings", "imaging", "networks", "records", "reports", "tutor", "workflow"},
    "cli": {
        "errors",
        "settings",
        "imaging",
        "networks",
        "records",
        "reports",
        "tutor",
        "workflow",
        "web",
        "jobs",
    },
}
PURE = {"imaging", "reports", "tutor"}
NOT_IN_PURE_ROOMS = {
    "flask",
    "sqlalchemy",
    "flask_sqlalchemy",
    "flask_login",
    "tensorflow",
    "keras",
}
TRAINING_LIBRARIES = {"tensorflow", "keras", "sklearn"}
HEAVY_ONLY_IN = "networks"


def _modules() -> list[Path]:
    return sorted(
        path for path in UTILS.rglob("*.py") if "migrations" not in path.relative_to(UTILS).parts
    )


def _imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room(path: Path) -> str:
    return path.relative_to(UTILS).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(UTILS)))
def test_no_arrow_points_back(path: Path) -> None:
    room = _room(path)
    if room == "__init__":
        return
    assert room in MAY_IMPORT, f"a room called {room} has no place in the design yet"
    for name in _imports(path):
        assert name.split(".")[0] not in {"app", "wsgi", "tests"}, name
        if name.startswith("utils.") and name != "utils.__version__":
            target = name.split(".")[1]
            assert target == room or target in MAY_IMPORT[room], f"{room} must not import {name}"


@pytest.mark.parametrize("room", sorted(PURE))
def test_pure_rooms_know_nothing_of_the_web_and_the_database(room: str) -> None:
    paths = [path for path in _modules() if _room(path) == room]
    assert paths
    for path in paths:
        roots = {name.split(".")[0] for name in _imports(path)}
        assert not roots & NOT_IN_PURE_ROOMS, path


def test_training_libraries_are_imported_by_the_networks_and_the_commands_only() -> None:
    users = {
        _room(path)
        for path in _modules()
        if {name.split(".")[0] for name in _imports(path)} & TRAINING_LIBRARIES
    }
    assert users
    assert users <= {HEAVY_ONLY_IN, "cli"}


_SERVE = """
import sys
from app import create_app
from tests.conftest import make_settings
from pathlib import Path
app = create_app(make_settings(Path(sys.argv[1]), Path(sys.argv[2])))
services = app.extensions["marrow_find"]
with app.app_context():
    services.warm_up()
services.classifier
client = app.test_client()
assert client.get("/login").status_code == 200
assert client.get("/health").status_code == 200, client.get("/health").get_data()
loaded = sorted({"tensorflow", "keras", "sklearn", "torch", "onnx"} & set(sys.modules))
assert not loaded, loaded
"""


def test_the_process_that_serves_imports_no_training_library(
    tmp_path: Path, models_dir: Path
) -> None:
    served = subprocess.run(
        [sys.executable, "-c", _SERVE, str(tmp_path / "instance"), str(models_dir)],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert served.returncode == 0, served.stderr


_THREADS = """
import os
import app
assert os.environ["OPENBLAS_NUM_THREADS"] == os.environ["OMP_NUM_THREADS"] == "1"
"""


def test_numpy_gets_one_thread_before_it_is_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _THREADS], cwd=PROJECT_ROOT, capture_output=True, check=False,
        env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    source = (PROJECT_ROOT / "app.py").read_text(encoding="utf-8")
    assert source.index("OMP_NUM_THREADS") < source.index("from flask")


def test_models_hold_no_python() -> None:
    assert not list((PROJECT_ROOT / "models").rglob("*.py"))


def test_modules_and_functions_stay_readable() -> None:
    """About 400 lines a module, about 40 a function (STYLE); far beyond is a fault."""
    for path in _modules():
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 450, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                lines = (node.end_lineno or 0) - node.lineno + 1
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                    lines -= (first.end_lineno or 0) - first.lineno + 1  # the docstring
                assert lines <= 60, f"{path}: {node.name} has {lines} lines"
