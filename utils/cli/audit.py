"""``flask audit``: is the trail whole?"""

from __future__ import annotations

from dataclasses import asdict

import click
import sqlalchemy as sa

from utils.cli.command import new_group, print_json
from utils.records.audit import AuditEntry
from utils.records.audit import verify as verify_trail
from utils.records.database import db

group = new_group("audit", "Look after the audit trail.")


@group.command("verify")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(as_json: bool) -> None:
    """Walk the whole trail; name the first entry that was changed, removed or put in between."""
    breaks = verify_trail(db.session)
    entries = db.session.scalar(sa.select(sa.func.count()).select_from(AuditEntry)) or 0
    if as_json:
        print_json(
            {"ok": not breaks, "entries": entries, "breaks": [asdict(found) for found in breaks]}
        )
    elif not breaks:
        click.echo(f"The audit trail is whole: {entries} entries.")
    else:
        click.echo(f"The audit trail is broken. {breaks[0].message}")
        for found in breaks[1:]:
            click.echo(found.message)
    if breaks:
        raise SystemExit(1)
