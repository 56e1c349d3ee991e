"""A language network behind the OpenAI protocol, a local Ollama for instance."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Final

import urllib3

from utils.errors import EndpointFailed

MOST_TOKENS: Final = 400
_MOST_CHARACTERS: Final = 6_000
_TOO_LONG: Final = "The language network took too long."


def stream(
    address: str,
    conversation: Sequence[dict[str, str]],
    *,
    network: str,
    key: str = "",
    connect_s: float = 2.0,
    whole_s: float = 30.0,
) -> Iterator[str]:
    """Ask for an answer and give its pieces as they come.

    Parameters
    ----------
    address : str
        Such as ``http://127.0.0.1:11434/v1``; ``/chat/completions`` is added.
    conversation : sequence of dict
        Messages with ``role`` and ``content``.
    network : str
        Name of the language network there.
    key : str
        Sent as a bearer token where there is one.
    connect_s, whole_s : float
        Longest wait for a connection, and for the whole answer, seconds.

    Yields
    ------
    piece : str

    Raises
    ------
    EndpointFailed
        If it cannot be reached, refuses, says what is not understood, takes too long, or says
        nothing.
    """
    until = time.monotonic() + whole_s
    # No retries and no redirects: the next one to ask may be luckier, and no answer comes from
    # anywhere but the address that was set.
    pool = urllib3.PoolManager(retries=False)
    try:
        response = pool.request(
            "POST",
            address.rstrip("/") + "/chat/completions",
            json={
                "model": network,
                "messages": list(conversation),
                "stream": True,
                "temperature": 0,
                "max_tokens": MOST_TOKENS,
            },
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=urllib3.Timeout(connect=connect_s, read=whole_s),
            preload_content=False,
            redirect=False,
        )
    except urllib3.exceptions.ReadTimeoutError as error:
        raise EndpointFailed(_TOO_LONG) from error
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise EndpointFailed("The language network cannot be reached.") from error
    try:
        if response.status != 200:
            raise EndpointFailed(f"The language network answered with status {response.status}.")
        yield from _pieces(response, until)
    except urllib3.exceptions.ReadTimeoutError as error:
        raise EndpointFailed(_TOO_LONG) from error
    except urllib3.exceptions.HTTPError as error:
        raise EndpointFailed("The language network broke off.") from error
    finally:
        response.release_conn()
        pool.clear()


def _pieces(response: urllib3.BaseHTTPResponse, until: float) -> Iterator[str]:
    said = 0
    for line in _lines(response, until):
        if not line.startswith("data:"):
            continue  # comments and event names of the stream
        data = line[5:].strip()
        if data == "[DONE]":
            break
        piece = _content(data)
        said += len(piece)
        if said > _MOST_CHARACTERS:
            raise EndpointFailed("The language network did not come to an end.")
        if piece:
            yield piece
    if not said:
        raise EndpointFailed("The language network said nothing.")


def _lines(response: urllib3.BaseHTTPResponse, until: float) -> Iterator[str]:
    rest = b""
    # Byte by byte as they arrive: a full buffer would hold the last words back.
    while chunk := response.read1(4096):
        if time.monotonic() > until:
            raise EndpointFailed(_TOO_LONG)
        rest += chunk
        if len(rest) > 16 * _MOST_CHARACTERS:
            raise EndpointFailed("The language network said what is not understood.")
        *whole, rest = rest.split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace").strip()
    if rest:
        yield rest.decode("utf-8", "replace").strip()


def _content(data: str) -> str:
    try:
        choices = json.loads(data)["choices"]
        # A piece that only counts tokens has no choices.
        content = choices[0]["delta"].get("content") if choices else ""
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise EndpointFailed("The language network said what is not understood.") from error
    if not isinstance(content, str):
        return ""
    # Half a surrogate pair could not be stored.
    return content.encode("utf-8", "replace").decode()
