"""What a test needs of the machine beside Python: skipped at home, demanded in CI.

A newcomer has Python and make, and must be able to run the rest. Where `.ci/run`
has installed everything, a thing that is missing is a fault and not a reason to skip.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def lacking(what: str, remedy: str) -> NoReturn:
    """Skip with a sentence that says what to install; fail in CI."""
    sentence = f"{what} is not on this machine: {remedy}"
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)


def program(names: tuple[str, ...], what: str, remedy: str) -> str:
    """Path of the first of several programs that is there."""
    found = next((path for path in map(shutil.which, names) if path), None)
    return found or lacking(what, remedy)
