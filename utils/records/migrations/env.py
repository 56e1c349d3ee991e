"""Runs the migrations within the application's own engine, each run as one transaction."""

from alembic import context
from flask import current_app
from sqlalchemy.engine import Connection

import utils.records  # noqa: F401  (makes every record known to the metadata)
from utils.records.database import db


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()


def _run_sqlite(connection: Connection) -> None:
    # The driver would commit before each change of the schema: it is told to keep its hands off,
    # so that an upgrade that is killed half-way leaves the database as it was.
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.isolation_level = None
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        _run(connection)
    finally:
        connection.rollback()
        driver.isolation_level = ""


if context.is_offline_mode():
    context.configure(
        url=current_app.config["SQLALCHEMY_DATABASE_URI"],
        target_metadata=db.metadata,
        literal_binds=True,
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    with db.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            _run_sqlite(connection)
        else:
            _run(connection)
