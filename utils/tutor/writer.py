"""A language network writes the answer from the passages that were found, sentence by sentence."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from utils.errors import EndpointFailed
from utils.tutor import endpoint, grounding, scope
from utils.tutor.answer import Answer, Found, Paragraph, read_on
from utils.tutor.retrieval import Index


@dataclass(frozen=True)
class Endpoint:
    """Where the language network is.

    Attributes
    ----------
    address, network : str
    key : str
        Bearer token, or empty.
    seconds : float
        Longest wait for the whole answer.
    lock : Path
        File that one writer at a time holds: each waits in a web worker, which others need.
    """

    address: str
    network: str
    key: str = field(repr=False)
    seconds: float
    lock: Path


def sentences(found: Found, place: Endpoint) -> Iterator[Paragraph]:
    """Give each sentence as soon as it is whole and rests on a passage.

    Yields
    ------
    paragraph : Paragraph

    Raises
    ------
    EndpointFailed
        If the network fails, is busy, or says nothing that the passages bear out.
    """
    passages = [hit.passage for hit in found.hits]
    conversation = grounding.messages(found.asked, passages)
    said: list[str] = []
    with _alone(place.lock):
        pieces = endpoint.stream(
            place.address,
            conversation,
            network=place.network,
            key=place.key,
            whole_s=place.seconds,
        )
        for sentence in _whole_sentences(pieces):
            paragraph = grounding.supported(sentence, len(passages))
            if paragraph is None:
                continue
            said.append(paragraph.text)
            if scope.oversteps(" ".join(said)):
                raise EndpointFailed("The language network spoke of a patient or a treatment.")
            yield paragraph
    if not said:
        raise EndpointFailed("The language network said nothing that the passages bear out.")


def _whole_sentences(pieces: Iterator[str]) -> Iterator[str]:
    rest = ""
    for piece in pieces:
        whole, rest = grounding.finished(rest + piece)
        yield from whole
    if rest.strip():
        yield rest


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    try:
        handle = lock.open("w", encoding="ascii")
    except OSError as error:
        raise EndpointFailed("The language network cannot be asked at the moment.") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EndpointFailed("The language network is busy with another question.") from error
        except OSError as error:
            raise EndpointFailed("The language network cannot be asked at the moment.") from error
        yield


def written(index: Index, found: Found, paragraphs: tuple[Paragraph, ...], network: str) -> Answer:
    """Make the answer of the sentences that a language network wrote.

    Parameters
    ----------
    paragraphs : tuple of Paragraph
        Their numbers are those of `found.hits`; the answer's run without gaps.
    """
    used = sorted({number for paragraph in paragraphs for number in paragraph.cites})
    place = {number: position for position, number in enumerate(used, start=1)}
    return Answer(
        "answer",
        tuple(Paragraph(p.text, tuple(place[n] for n in p.cites)) for p in paragraphs),
        tuple(found.hits[number - 1].passage.name for number in used),
        near=read_on(index, tuple(found.hits[number - 1] for number in used)),
        writer=network,
    )
