"""Sentences about refused images, carried in the address of the page that follows a form.

They survive a reload, need no room in the session's cookie, and are signed: nobody can make the
site say what it did not say.
"""

from __future__ import annotations

from typing import Final

from flask import current_app
from itsdangerous import BadSignature, URLSafeSerializer

_SALT: Final = "refused images"
# Longer addresses are refused by the server in front (gunicorn: 4,094 bytes a request line).
_LONGEST: Final = 3_000


def pack(refused: list[tuple[int, str]]) -> str:
    """Pack (place in the submission, sentence) pairs; "" for none."""
    if not refused:
        return ""
    sentences = list(dict.fromkeys(sentence for _, sentence in refused))
    places = [[place, sentences.index(sentence)] for place, sentence in refused]
    packed = _serializer().dumps([sentences, places])
    if isinstance(packed, bytes):
        packed = packed.decode()
    if len(packed) <= _LONGEST:
        return packed
    short = [(place, "This image could not be read.") for place, _ in refused]
    return pack(short) if len(sentences) > 1 else ""


def unpack(packed: str) -> list[tuple[int, str]]:
    """Unpack what `pack` packed; anything else is no refusal."""
    if not packed:
        return []
    try:
        sentences, places = _serializer().loads(packed)
        return [(int(place), str(sentences[which])) for place, which in places]
    except (BadSignature, TypeError, ValueError, IndexError):
        return []


def _serializer() -> URLSafeSerializer:
    return URLSafeSerializer(str(current_app.config["SECRET_KEY"]), salt=_SALT)
