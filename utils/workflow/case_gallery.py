"""All cells of a case together, and for one cell the confirmed cells that look most like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import sqlalchemy as sa

from utils.records import Analysis, Case, Cell, User
from utils.records.database import AnySession
from utils.workflow import access

# Confirmed cells that a cell is compared with, the newest first.
COMPARED: Final = 4000


@dataclass(frozen=True)
class CaseCell:
    """One cell of a case, without its pictures.

    Attributes
    ----------
    field_id : str
        Public id of its field.
    field_number, number : int
    code : str or None
        What it is called now: a person's word before the network's.
    review_state : str
    probability : float or None
        Of the network's class.
    by_network : bool
        Whether a network has read it.
    touches_border : bool
    measures : dict
    """

    field_id: str
    field_number: int
    number: int
    code: str | None
    review_state: str
    probability: float | None
    by_network: bool
    touches_border: bool
    measures: dict[str, Any]


@dataclass(frozen=True)
class Alike:
    """A confirmed cell and how much it is like another.

    Attributes
    ----------
    field_id : str
    number : int
    code : str
        What a person called it.
    similarity : float
        Cosine between the embeddings, -1 to 1.
    """

    field_id: str
    number: int
    code: str
    similarity: float


def cells_of_case(session: AnySession, case: Case) -> list[CaseCell]:
    """List the cells that are in a case's fields now, in one query."""
    statement = (
        sa.select(
            Analysis.public_id,
            Analysis.number,
            Cell.number,
            sa.case((Cell.review_state == "unreviewed", Cell.code), else_=Cell.reviewed_code),
            Cell.review_state,
            Cell.probability,
            Cell.network_name.is_not(None),
            Cell.touches_border,
            Cell.measures,
        )
        .join(Analysis, Analysis.id == Cell.analysis_id)
        .where(Analysis.case_id == case.id, Cell.present)
        .order_by(Analysis.number, Cell.number)
    )
    return [CaseCell(*row) for row in session.execute(statement)]


def confirmed_cells(
    session: AnySession, user: User, codes: Sequence[str], *, most: int = 8
) -> list[tuple[str, int]]:
    """The newest confirmed cells of some classes: each field's public id and the cell's number.

    Only cells that `user` may see.
    """
    if not codes:
        return []
    statement = _confirmed(user).where(Cell.reviewed_code.in_(codes)).limit(most)
    return [(field_id, number) for field_id, number, _ in session.execute(statement)]


def _confirmed(user: User) -> sa.Select[Any]:
    """Field, number and class of the confirmed cells that `user` may see, the newest first."""
    statement: Any = (
        sa.select(Analysis.public_id, Cell.number, Cell.reviewed_code)
        .select_from(Cell)
        .join(Analysis, Analysis.id == Cell.analysis_id)
        .where(Cell.present, Cell.review_state != "unreviewed", Cell.reviewed_code.is_not(None))
        .order_by(Cell.reviewed_at.desc(), Cell.id.desc())
    )
    return access.only_visible(statement, user)


def similar_cells(session: AnySession, user: User, cell: Cell, *, most: int = 8) -> list[Alike]:
    """Find the confirmed cells whose embedding lies nearest to a cell's.

    Parameters
    ----------
    user : User
        Only cells that this person may see are compared.
    cell : Cell
    most : int

    Returns
    -------
    alike : list of Alike
        The most alike first; empty where no network read the cell or nothing was confirmed.
    """
    if cell.network_name is None or not cell.embedding:
        return []
    statement = (
        _confirmed(user)
        .add_columns(Cell.embedding)
        .where(
            # Embeddings of two networks, or of two versions of one, lie in different spaces.
            Cell.network_name == cell.network_name,
            Cell.network_version == cell.network_version,
            Cell.id != cell.id,
        )
        .limit(COMPARED)
    )
    own = _unit(cell.embedding)
    rows = [row for row in session.execute(statement) if len(row[3]) == len(cell.embedding)]
    if not rows:
        return []
    others = np.stack([_unit(row[3]) for row in rows])
    similarity = others @ own
    nearest = np.argsort(-similarity, kind="stable")[:most]
    return [
        Alike(rows[i][0], rows[i][1], str(rows[i][2]), round(float(similarity[i]), 4))
        for i in nearest
    ]


def _unit(embedding: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    vector = np.frombuffer(embedding, dtype=np.float16).astype(np.float32)
    return vector / max(float(np.linalg.norm(vector)), 1e-6)
