"""Errors to answers: the one place that decides which status and which page an error becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flask import Flask, Response, current_app, g, jsonify, make_response, render_template, request
from flask_login import AnonymousUserMixin
from flask_wtf.csrf import CSRFError
from markupsafe import escape
from werkzeug.exceptions import HTTPException, SecurityError, TooManyRequests

from utils import errors
from utils.records.database import db

STATUS: Final[dict[type[errors.MarrowFindError], int]] = {
    errors.EmptyFile: 422,
    errors.UnsupportedImage: 415,
    errors.TruncatedImage: 422,
    errors.ImageTooLarge: 413,
    errors.ImageTooSmall: 422,
    errors.InvalidImage: 422,
    errors.NetworkUnavailable: 503,
    errors.NetworkCorrupt: 503,
    errors.StorageFull: 507,
    errors.StorageFailed: 500,
    errors.DatabaseBusy: 503,
    errors.NotAllowed: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.InvalidInput: 422,
    errors.Throttled: 429,
    errors.DatasetInvalid: 422,
    errors.EndpointFailed: 503,
    errors.WorkFailed: 500,
    errors.CorpusInvalid: 500,
    errors.MarrowFindError: 500,
}
RETRY_AFTER_S: Final[dict[type[errors.MarrowFindError], int]] = {
    errors.DatabaseBusy: 2,
    errors.Throttled: 60,
}
TITLES: Final[dict[int, str]] = {
    400: "That request could not be read",
    401: "Please sign in",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    408: "That took too long",
    409: "Not as it was",
    413: "Too large",
    415: "Not a readable image",
    422: "Not as expected",
    429: "Too many attempts",
    500: "Something went wrong",
    503: "Not available at the moment",
    507: "The disk is full",
}
# Sentences for what the web framework itself refuses: code, sentence.
_HTTP: Final[dict[int, tuple[str, str]]] = {
    400: ("bad_request", "The request was not as expected. Go back, reload the page, try again."),
    401: ("sign_in_first", "Please sign in first."),
    403: ("not_allowed", "Your account does not allow this."),
    404: ("not_found", "There is no such page here, or none that you may see."),
    405: ("method_not_allowed", "This address does not answer that kind of request."),
    408: ("request_timeout", "The upload took too long. Please try again."),
    413: ("request_too_large", "More was sent than is accepted in one go. Send fewer images."),
    415: ("unsupported_media_type", "The request was sent in a form that is not read here."),
    422: ("invalid_input", "What was sent is not as expected."),
    429: ("throttled", "Too many attempts in a short time. Please wait a minute and try again."),
    500: ("internal_error", "The program made a mistake. It was noted; nothing else was changed."),
    503: ("unavailable", "The program cannot answer at the moment. Please try again shortly."),
}
_CSRF_SENTENCE: Final = (
    "The page was open for too long or in another session. Go back, reload it, and try again."
)


@dataclass(frozen=True)
class Problem:
    """What is told about an error: status, stable code, sentence, seconds to wait."""

    status: int
    code: str
    message: str
    retry_after_s: int | None = None


def status_of(error: errors.MarrowFindError) -> int:
    """Give the HTTP status of an error, by its class or the nearest one above."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem_of(error: BaseException) -> Problem:
    """Say what is told about any error; an unforeseen one tells nothing of itself."""
    if isinstance(error, errors.MarrowFindError):
        wait = next((RETRY_AFTER_S[k] for k in type(error).__mro__ if k in RETRY_AFTER_S), None)
        return Problem(status_of(error), error.code, error.message, wait)
    if isinstance(error, CSRFError):
        return Problem(400, "form_expired", _CSRF_SENTENCE)
    if isinstance(error, HTTPException) and error.code in _HTTP:
        wait = 60 if isinstance(error, TooManyRequests) else None
        return Problem(error.code, *_HTTP[error.code], wait)
    if isinstance(error, HTTPException) and error.code and error.code < 500:
        return Problem(error.code, "refused", "The request was refused.")
    return Problem(500, *_HTTP[500])


def wants_json() -> bool:
    """Whether the client asked for JSON rather than for a page."""
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return best == "application/json"


def init_errors(app: Flask) -> None:
    """Answer every error of `app` with a page or, where asked for, with JSON."""
    app.register_error_handler(errors.MarrowFindError, _answer_known)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_unforeseen)


def _answer_known(error: errors.MarrowFindError) -> Response:
    return respond(problem_of(error))


def _answer_http(error: HTTPException) -> Response:
    if error.code is not None and error.code < 400:
        return make_response(error.get_response())  # a redirect that was raised
    if isinstance(error, SecurityError):
        # The host name is not one of ours: no address can be built, so no page of the site either.
        return make_response(_bare(problem_of(error)), error.code)
    response = respond(problem_of(error))
    if error.code == 405 and error.get_response().headers.get("Allow"):
        response.headers["Allow"] = error.get_response().headers["Allow"]
    return response


def _answer_unforeseen(error: Exception) -> Response:
    # Flask would log the address too; the route's pattern says the same and names nobody.
    current_app.logger.error("unforeseen error in %s", request.endpoint, exc_info=error)
    return respond(problem_of(error))


def respond(problem: Problem) -> Response:
    """Make the answer that tells a problem."""
    _let_go_of_the_database(problem.status)
    if wants_json():
        response = jsonify(code=problem.code, message=problem.message)
    else:
        response = make_response(_page(problem))
    response.status_code = problem.status
    if problem.retry_after_s is not None:
        response.headers["Retry-After"] = str(problem.retry_after_s)
    return response


def _let_go_of_the_database(status: int) -> None:
    db.session.rollback()
    if status >= 500 and not hasattr(g, "_login_user"):
        # The page's head asks who is signed in; where that question failed it is not asked again.
        g._login_user = AnonymousUserMixin()


def _page(problem: Problem) -> str:
    title = TITLES.get(problem.status, "Not possible")
    try:
        return render_template("errors/error.html", problem=problem, title=title)
    except Exception as error:
        if problem.status < 500:
            raise
            # The page itself needs what is broken: the bare sentence is better than none.
            current_app.logger.error("the error page failed", exc_info=error)
        return _bare(problem)


def _bare(problem: Problem) -> str:
    title = escape(TITLES.get(problem.status, "Not possible"))
    return (
        f'<!doctype html><html lang="en"><title>{title}</title>'
        f"<h1>{title}</h1><p>{escape(problem.message)}</p></html>"
    )
