"""``flask analyse``: the whole way without a browser."""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import sqlalchemy as sa

from utils.cli.command import new_command, print_json
from utils.errors import EmptyFile, ImageTooLarge, InvalidImage, InvalidInput, MarrowFindError
from utils.records import Analysis, Case, User, db
from utils.settings import Settings
from utils.web.services import services
from utils.workflow import wording
from utils.workflow.analyse import AnalysisResult, analyse_image, store_analysis

# Where `make run` serves; what a QR code says when no public address is set.
LOCAL_ADDRESS: Final = "http://127.0.0.1:8000/"


@dataclass(frozen=True)
class _Done:
    """One image that was analysed, and its row where it was stored."""

    image: str
    result: AnalysisResult
    row: Analysis | None = None


@new_command("analyse")
@click.argument(
    "images", nargs=-1, required=True, metavar="IMAGE…", type=click.Path(path_type=Path)
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--pdf",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write one report about all images; with --store the kept report of the one image.",
)
@click.option("--store", is_flag=True, help="Keep the analyses, as fields of one new case.")
@click.option("--as", "email", metavar="EMAIL", help="With --store: whose analyses they become.")
def command(
    images: tuple[Path, ...], as_json: bool, pdf: Path | None, store: bool, email: str | None
) -> None:
    """Read fields of view: a pattern, a heatmap's verdict and a count for each IMAGE.

    Nothing is stored unless --store is given.
    """
    missing = [image for image in images if not image.is_file()]
    if missing:
        raise click.UsageError(f"An image file was expected; there is none at {missing[0]}.")
    if email and not store:
        raise click.UsageError("--as goes with --store.")
    if store and pdf and len(images) > 1:
        raise click.UsageError("With --store each field has a report of its own: give one IMAGE.")
    owner = _owner(email) if store else None
    classifier = services().classifier
    classifier.warm_up()
    done, errors = _analyse_all(images, owner)
    if pdf is not None and done:
        _write_pdf(pdf, done, owner)
    if as_json:
        answer: dict[str, Any] = {"analyses": [_as_json(one) for one in done]}
        if errors:
            answer["errors"] = errors
        print_json(answer)
    else:
        _print_table(done)
    for error in errors:
        click.echo(f"{error['image']}: {error['message']}", err=True)
    if errors:
        sys.exit(1)


def _analyse_all(
    images: tuple[Path, ...], owner: User | None
) -> tuple[list[_Done], list[dict[str, str]]]:
    done: list[_Done] = []
    errors: list[dict[str, str]] = []
    case: Case | None = None
    for image in images:
        try:
            one = _analyse_one(image, owner, case)
        except InvalidImage as error:
            errors.append({"image": str(image), "code": error.code, "message": error.message})
        else:
            done.append(one)
            case = one.row.case if one.row else None
    return done, errors


def _analyse_one(image: Path, owner: User | None, case: Case | None) -> _Done:
    settings = services().settings
    result = analyse_image(
        _read(image, settings), classifier=services().classifier, settings=settings
    )
    if owner is None:
        return _Done(str(image), result)
    row = store_analysis(
        result,
        user=owner,
        upload_key=f"cli-{secrets.token_urlsafe(16)}",
        blobs=services().blobs,
        case=case,
    )
    return _Done(str(image), result, row)


def _read(image: Path, settings: Settings) -> bytes:
    try:
        with image.open("rb") as file:
            data = file.read(settings.max_image_bytes + 1)
    except OSError as error:
        raise InvalidImage("The file cannot be read.", code="file_unreadable") from error
    if not data:
        raise EmptyFile("An image was expected; the file is empty.")
    if len(data) > settings.max_image_bytes:
        raise ImageTooLarge(
            f"An image of at most {settings.max_image_bytes / 1e6:g} MB was expected; "
            "this one is larger."
        )
    return data


def _owner(email: str | None) -> User:
    """Find whose analyses they become: the person named, or the only administrator."""
    statement = sa.select(User).where(User.state == "active")
    if email:
        statement = statement.where(User.email == email.strip().lower())
    else:
        statement = statement.where(User.role == "administrator")
    users = list(db.session.scalars(statement.order_by(User.id).limit(2)))
    if not users:
        raise InvalidInput(
            "No active account was found to keep the analyses for; make one, or name it with --as."
        )
    if len(users) > 1:
        raise InvalidInput("There are several administrators; name one with --as EMAIL.")
    return users[0]


def _write_pdf(place: Path, done: list[_Done], owner: User | None) -> None:
    # ReportLab takes a moment to import; only this option pays it.
    from utils.workflow.report import issue_report, report_for_unstored

    settings, blobs = services().settings, services().blobs
    row = done[0].row
    if row is None or owner is None:
        data = report_for_unstored(
            [one.result for one in done], laboratory_name=settings.laboratory_name
        )
    else:
        version = issue_report(
            row,
            owner,
            blobs=blobs,
            models_dir=settings.models_dir,
            base_url=settings.public_url or LOCAL_ADDRESS,
            laboratory_name=settings.laboratory_name,
        )
        data = blobs.read(version.pdf_sha256)
    try:
        place.write_bytes(data)
    except OSError as error:
        raise MarrowFindError(
            f"The report cannot be written to {place}.", code="pdf_unwritable"
        ) from error


def _as_json(one: _Done) -> dict[str, Any]:
    result = one.result
    shares = result.attention.heat_on_cells
    answer: dict[str, Any] = {
        "image": one.image,
        "network": {"name": result.manifest.name, "version": result.manifest.version},
        "label": result.verdict.label_code,
        "probability": result.reading.probability,
        "probabilities": result.probabilities,
        "abstained": result.abstained,
        "flags": list(one.row.flags if one.row else result.flags),
        "heat_on_cells": shares[result.reading.top_code],
        "cells": {"nucleated": result.segmentation.count},
        "timings_ms": dict(one.row.timings_ms if one.row else result.timings_ms),
    }
    if one.row is not None:
        answer["id"] = one.row.public_id
    return answer


def _percent(probability: float) -> str:
    # A probability is never certain.
    return ">99.9%" if probability > 0.999 else f"{probability:.1%}"


def _print_table(done: list[_Done]) -> None:
    width = max((len(Path(one.image).name) for one in done), default=0)
    for one in done:
        result = one.result
        label = result.verdict.label_code or wording.UNCLASSIFIABLE
        probability = _percent(result.reading.probability)
        total_ms = sum(result.timings_ms.values())
        flags = ", ".join(result.flags)
        click.echo(
            f"{Path(one.image).name:<{width}}  {label:<23}  {probability:>7}  "
            f"{result.segmentation.count:4d} nucleated  {total_ms:6.0f} ms"
            + (f"  {flags}" if flags else "")
        )
    if done:
        click.echo(f"Patterns and field counts, not diagnoses. {wording.RESEARCH_USE_ONLY}")
