"""The database object, its engine's settings, and the base of every record.

SQLite is the embedded default and runs in WAL mode, so that readers never wait for the one
writer. The driver's classic transaction mode is kept on purpose: reads take no lasting snapshot,
so a request that reads and then writes waits for the lock instead of failing at once
(``SQLITE_BUSY_SNAPSHOT``).
"""

from __future__ import annotations

import fcntl
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import alembic.command
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.engine import Connection, Dialect, ExceptionContext
from sqlalchemy.orm import DeclarativeBase, Mapper, Session, scoped_session

from utils.errors import Conflict, DatabaseBusy, MarrowFindError, StorageFailed, StorageFull
from utils.settings import Settings

AnySession = Session | scoped_session[Any]

MIGRATIONS_DIR = Path(__file__).resolve().parent / "migrations"
BUSY_SENTENCE = "The database is busy with other work. Nothing was saved; please try again shortly."
UNREACHABLE_SENTENCE = (
    "The database cannot be reached at the moment. Nothing was saved; please try again shortly."
)
FULL_SENTENCE = "The disk of this installation is full. Nothing was saved; tell the administrator."

_NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class _Base(DeclarativeBase):
    metadata = sa.MetaData(naming_convention=_NAMING)


db = SQLAlchemy(model_class=_Base, disable_autonaming=True)
migrate = Migrate(directory=str(MIGRATIONS_DIR))

if TYPE_CHECKING:

    class Record(_Base):
        """Base of every record."""

        __abstract__ = True
else:
    Record = db.Model


class UtcDateTime(sa.TypeDecorator[datetime]):
    """A moment in UTC; naive moments are refused, stored ones come back with their zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn a moment with a zone into UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment with a time zone was expected")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give a stored moment its zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utc_now() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


def new_public_id() -> str:
    """Make an identifier that is opaque and cannot be guessed (128 bits)."""
    return secrets.token_urlsafe(16)


def append_only(record: type[Any]) -> type[Any]:
    """Let the ORM refuse to change or delete rows of `record`; a database trigger does so too."""

    def refuse(mapper: Mapper[Any], connection: Connection, target: object) -> None:
        raise Conflict(
            f"Entries of {mapper.class_.__tablename__} are kept as they were written; "
            "a correction is a new entry.",
            code="append_only",
        )

    event.listen(record, "before_update", refuse)
    event.listen(record, "before_delete", refuse)
    return record


def init_database(app: Flask, settings: Settings) -> None:
    """Bind the database to `app`; an embedded SQLite database is brought up to date here."""
    embedded = settings.effective_database_url.startswith("sqlite")
    # Parameters are hidden from error texts: they hold names and accession numbers.
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.effective_database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = (
        {"hide_parameters": True, "connect_args": {"timeout": settings.database_busy_ms / 1000}}
        if embedded
        else {"hide_parameters": True, "pool_pre_ping": True, "pool_size": 2, "max_overflow": 4}
    )
    db.init_app(app)
    migrate.init_app(app, db)
    with app.app_context():
        if embedded:
            event.listen(db.engine, "connect", _sqlite_pragmas(settings.database_busy_ms))
        event.listen(db.engine, "handle_error", _explain)
        if embedded:
            upgrade_embedded(app, settings)


def upgrade_embedded(app: Flask, settings: Settings) -> None:
    """Bring the embedded database up to date, one process at a time.

    A database that is up to date is only read, so that a start never waits for a writer.
    """
    settings.instance_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = migrate.get_config()
    newest = ScriptDirectory.from_config(config).get_current_head()
    if _revision() == newest:
        return
    with _locked(settings.instance_dir / ".upgrade.lock"):
        if _revision() != newest:
            alembic.command.upgrade(config, "head")


def _revision() -> str | None:
    with db.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    try:
        handle = place.open("w", encoding="ascii")
    except OSError as error:
        raise StorageFailed("The instance folder cannot be written.") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _sqlite_pragmas(busy_ms: int) -> Callable[[sqlite3.Connection, object], None]:
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {busy_ms:d}")
        cursor.execute("PRAGMA journal_mode = WAL")
        # FULL: an answer that was shown survives a power cut, at a few ms for each commit.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    return prepare


def _explain(context: ExceptionContext) -> None:
    """Turn what a driver says about locks and disks into the program's own errors."""
    error = explain_database_error(context.original_exception)
    if error is not None:
        raise error from context.original_exception


def explain_database_error(error: BaseException | None) -> MarrowFindError | None:
    """Name the error that the person should see, or None where it is a programming fault."""
    if isinstance(error, sqlite3.Error):
        return _explain_sqlite(error)
    # psycopg is asked by name, so that it need not be installed for SQLite.
    if error is None or not type(error).__module__.startswith("psycopg"):
        return None
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith("53100"):
        return StorageFull(FULL_SENTENCE)
    if state in {"40001", "40P01", "55P03", "57014"}:
        return DatabaseBusy(BUSY_SENTENCE)
    if state.startswith(("08", "53", "57P")) or (
        not state and type(error).__name__ == "OperationalError"
    ):
        return DatabaseBusy(UNREACHABLE_SENTENCE, code="database_unreachable")
    return None


def _explain_sqlite(error: sqlite3.Error) -> MarrowFindError | None:
    # The primary result code is the low byte of the extended one (sqlite.org/rescode.html).
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return DatabaseBusy(BUSY_SENTENCE)
    if code == sqlite3.SQLITE_FULL:
        return StorageFull(FULL_SENTENCE)
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}:
        return StorageFailed("The database file cannot be read or written.")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return StorageFailed("The database file is damaged.", code="database_damaged")
    return None


def database_is_writable(session: AnySession) -> bool:
    """Whether a write would go through now; nothing is kept of the attempt."""
    try:
        session.execute(sa.text("UPDATE audit_head SET count = count WHERE id = 1"))
    finally:
        session.rollback()
    return True
