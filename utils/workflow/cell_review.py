"""What people say of single cells: confirmed, given another class, taken back."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from utils.errors import Conflict, InvalidInput
from utils.records import CellEvent
from utils.records.database import AnySession
from utils.workflow.cell_events import (
    Request,
    append,
    present_cells,
    replay,
    standing_code,
)


def confirm(request: Request, numbers: Collection[int]) -> CellEvent | None:
    """Confirm the class that each of some cells has; one event for all of them.

    Returns
    -------
    event : CellEvent or None
        None where this person has confirmed all of them before.

    Raises
    ------
    Conflict
        If a cell is gone, or somebody acted after the person looked.
    InvalidInput
        If a cell has no class that could be confirmed.
    NotAllowed
        If the person's role does not let them.
    """

    def check(session: AnySession, events: list[CellEvent]) -> dict[str, Any] | None:
        cells = present_cells(session, request.analysis, numbers)
        unnamed = [cell.number for cell in cells if standing_code(cell) is None]
        if unnamed:
            raise InvalidInput(
                f"Cell {', '.join(map(str, unnamed))} has no class to confirm: choose one.",
                code="cell_unnamed",
            )
        fresh = [cell for cell in cells if cell.reviewed_by_id != request.user.id]
        if not fresh:
            return None
        said = [(cell.number, standing_code(cell)) for cell in fresh]
        return {"cells": [{"number": n, "old": code, "new": code} for n, code in said]}

    return append(request, "confirm", check)


def correct(
    request: Request, numbers: Collection[int], code: str, known: Collection[str]
) -> CellEvent | None:
    """Give some cells a class; the old one is kept in the event.

    Parameters
    ----------
    code : str
        A class of the label set.
    known : collection of str
        The label set's codes.

    Returns
    -------
    event : CellEvent or None
        None where a person has called all of them so before.

    Raises
    ------
    Conflict, NotAllowed
        As in `confirm`.
    InvalidInput
        If there is no such class.
    """
    if code not in known:
        raise InvalidInput(
            f"One of the classes {', '.join(known)} was expected.", code="label_unknown"
        )

    def check(session: AnySession, events: list[CellEvent]) -> dict[str, Any] | None:
        cells = present_cells(session, request.analysis, numbers)
        fresh = [
            cell
            for cell in cells
            if cell.review_state == "unreviewed" or cell.reviewed_code != code
        ]
        if not fresh:
            return None
        said = [(cell.number, standing_code(cell)) for cell in fresh]
        return {"cells": [{"number": n, "old": old, "new": code} for n, old in said]}

    return append(request, "correct", check)


def undo(request: Request) -> CellEvent | None:
    """Take the newest standing action on a field's cells back, a repair included.

    Raises
    ------
    Conflict
        If there is nothing to take back, or somebody acted after the person looked.
    """

    def check(session: AnySession, events: list[CellEvent]) -> dict[str, Any]:
        done = replay(events).done
        if not done:
            raise Conflict("There is nothing to undo in this field.", code="nothing_to_undo")
        return {"event": done[-1].id}

    return append(request, "undo", check)


def redo(request: Request) -> CellEvent | None:
    """Bring the action back that was undone last.

    Raises
    ------
    Conflict
        If nothing was undone since the last action, or somebody acted after the person looked.
    """

    def check(session: AnySession, events: list[CellEvent]) -> dict[str, Any]:
        undone = replay(events).undone
        if not undone:
            raise Conflict("There is nothing to redo in this field.", code="nothing_to_redo")
        return {"event": undone[-1].id}

    return append(request, "redo", check)
