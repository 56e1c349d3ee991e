"""The commands of ``flask``."""

from __future__ import annotations

from flask import Flask

from utils.cli import analyse, audit, bench, cells, gan, jobs, network, tutor, users

_COMMANDS = (
    users.group,
    audit.group,
    network.group,
    gan.group,
    cells.group,
    jobs.group,
    tutor.group,
    analyse.command,
    bench.command,
)


def register(app: Flask) -> None:
    """Make the project's commands known to ``flask``."""
    for command in _COMMANDS:
        app.cli.add_command(command)
