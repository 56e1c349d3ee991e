"""Deny by default, CSRF, throttling and the headers of every answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from flask import Flask, Response, request
from flask.typing import ResponseReturnValue
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import current_user
from flask_wtf.csrf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix

from utils.settings import Settings
from utils.web.sessions import ask_to_sign_in

# Everything else asks for a signed-in person before anything of the request is read.
PUBLIC_ENDPOINTS: Final = frozenset(
    {
        "static",
        "accounts.login",
        "accounts.register",
        "health.show",
        "reports.verify",
        "about.index",
    }
)
# The only endpoint that takes more than a form's worth of bytes.
UPLOAD_ENDPOINT: Final = "start.upload"
MOST_FORM_BYTES: Final = 256 * 1024

CONTENT_SECURITY_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    # The camera is opened by the file chooser, which needs no permission of the page.
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

csrf = CSRFProtect()
limiter = Limiter(get_remote_address, strategy="fixed-window", headers_enabled=False)


def init_security(app: Flask, settings: Settings) -> None:
    """Guard every route of `app`."""
    _configure(app, settings)
    app.before_request(_limit_body)
    app.before_request(_deny_by_default)
    csrf.init_app(app)
    limiter.init_app(app)
    app.after_request(_headers(settings))
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops
        )


def _configure(app: Flask, settings: Settings) -> None:
    secure = settings.cookies_are_secure
    app.config.update(
        SESSION_COOKIE_NAME="__Host-marrow-find" if secure else "marrow-find",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=secure,
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(hours=settings.session_hours),
        WTF_CSRF_TIME_LIMIT=None,  # a form lives as long as its session
        MAX_CONTENT_LENGTH=settings.max_images_per_upload * settings.max_image_bytes
        + MOST_FORM_BYTES,
        MAX_FORM_PARTS=settings.max_images_per_upload + 100,
        TRUSTED_HOSTS=_trusted_hosts(settings),
        RATELIMIT_STORAGE_URI=settings.rate_limit_storage,
        # Where the shared counter is out of reach each worker goes on counting for itself.
        RATELIMIT_IN_MEMORY_FALLBACK_ENABLED=not settings.rate_limit_storage.startswith("memory"),
    )


def _trusted_hosts(settings: Settings) -> list[str] | None:
    if settings.trusted_hosts:
        return [host.strip() for host in settings.trusted_hosts.split(",") if host.strip()]
    if settings.public_url:
        # The health check of a container asks by the loopback's name.
        return [urlsplit(settings.public_url).hostname or "", "localhost", "127.0.0.1"]
    return None


def _limit_body() -> None:
    if request.endpoint != UPLOAD_ENDPOINT:
        request.max_content_length = MOST_FORM_BYTES


def _deny_by_default() -> ResponseReturnValue | None:
    if request.routing_exception is not None or request.endpoint in PUBLIC_ENDPOINTS:
        return None  # a missing page is missing for everybody
    return None if current_user.is_authenticated else ask_to_sign_in()


def _headers(settings: Settings) -> Callable[[Response], Response]:
    https = settings.public_url.startswith("https://")

    def add(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if https:
            response.headers["Strict-Transport-Security"] = "max-age=31536000"
        if request.endpoint != "static" and "Cache-Control" not in response.headers:
            # Pages speak of patients: no copy stays in a shared computer's cache.
            response.headers["Cache-Control"] = "no-store"
        return response

    return add
