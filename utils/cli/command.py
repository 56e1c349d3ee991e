"""Commands that say one sentence when something is wrong, and end with the right code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from flask.cli import AppGroup, with_appcontext

from utils.errors import InvalidInput, MarrowFindError

WRONG_ARGUMENT = 2


class Refusal(click.ClickException):
    """One sentence on standard error and an exit code."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        setattr(self, "exit_code", exit_code)  # noqa: B010  (click declares it for the class)

    def show(self, file: Any = None) -> None:
        """Print the sentence alone."""
        click.echo(self.message, file=file, err=file is None)


@contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        sentence = error.format_message().rstrip()
        ended = sentence.endswith((".", "?", "!"))
        raise Refusal(sentence if ended else f"{sentence}.", WRONG_ARGUMENT) from error
    except InvalidInput as error:
        raise Refusal(error.message, WRONG_ARGUMENT) from error
    except MarrowFindError as error:
        raise Refusal(error.message, 1) from error


class _Plain(click.Command):
    """Whatever goes wrong is one sentence."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _one_sentence():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _one_sentence():
            return super().invoke(ctx)


class _Group(_Plain, AppGroup):
    command_class = _Plain


def new_group(name: str, text: str) -> _Group:
    """Make a group of commands; ``@it.command("verb")`` adds one."""
    return _Group(name, help=text)


def new_command(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command that stands by itself and runs within the application."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        return click.command(name, cls=_Plain)(with_appcontext(function))

    return decorate


def print_json(answer: Mapping[str, Any]) -> None:
    """Print one JSON object, the only thing that ``--json`` prints on standard output."""
    click.echo(json.dumps(answer, ensure_ascii=False, allow_nan=False))
