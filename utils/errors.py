"""The one exception tree of Marrow-Find.

Every error carries a stable ``code`` for programs and a sentence for the person in front of the
screen, which says what was expected and what came. A sentence never holds patient data, a file
name or a path. Which HTTP status belongs to which class is decided in :mod:`utils.web.errors`.
"""

from __future__ import annotations

from typing import ClassVar


class MarrowFindError(Exception):
    """Anything that the program can explain to the person who uses it.

    Parameters
    ----------
    message : str
        One or two sentences for the user.
    code : str, optional
        A finer stable code than the class's own, snake_case.
    """

    default_code: ClassVar[str] = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code


class InvalidImage(MarrowFindError):
    """The bytes are no image that can be read as a field of a smear."""

    default_code = "invalid_image"


class EmptyFile(InvalidImage):
    """The file holds no bytes."""

    default_code = "empty_file"


class UnsupportedImage(InvalidImage):
    """The content is of a type that is not read here."""

    default_code = "unsupported_image"


class TruncatedImage(InvalidImage):
    """The file starts as an image and ends too early or is damaged."""

    default_code = "truncated_image"


class ImageTooLarge(InvalidImage):
    """More bytes or more pixels than the limits allow."""

    default_code = "image_too_large"


class ImageTooSmall(InvalidImage):
    """Fewer pixels than a field of view needs."""

    default_code = "image_too_small"


class NetworkUnavailable(MarrowFindError):
    """No trained network of that name and version is installed."""

    default_code = "network_unavailable"


class NetworkCorrupt(MarrowFindError):
    """A network's files are there but are not what its manifest says."""

    default_code = "network_corrupt"


class StorageFull(MarrowFindError):
    """The disk has no room left, or less than the configured reserve."""

    default_code = "storage_full"


class StorageFailed(MarrowFindError):
    """A stored file is missing, damaged or cannot be written."""

    default_code = "storage_failed"


class DatabaseBusy(MarrowFindError):
    """The database is locked or out of reach; the same request may work in a moment."""

    default_code = "database_busy"


class NotAllowed(MarrowFindError):
    """The person is known and may not do this."""

    default_code = "not_allowed"


class NotFound(MarrowFindError):
    """No such thing, or none that this person may see."""

    default_code = "not_found"


class Conflict(MarrowFindError):
    """The thing changed meanwhile, or exists already."""

    default_code = "conflict"


class InvalidInput(MarrowFindError):
    """A form field, an argument or a setting is not as expected."""

    default_code = "invalid_input"


class Throttled(MarrowFindError):
    """Too many attempts in too short a time."""

    default_code = "throttled"


class DatasetInvalid(MarrowFindError):
    """A folder of images is not laid out as a data set."""

    default_code = "dataset_invalid"


class CorpusInvalid(MarrowFindError):
    """The tutor's passages do not hold together: a fault of the installation."""

    default_code = "corpus_invalid"


class EndpointFailed(MarrowFindError):
    """The language network that writes the tutor's answers gave none that can be used."""

    default_code = "endpoint_failed"


class WorkFailed(MarrowFindError):
    """Long work in a process of its own ended badly."""

    default_code = "work_failed"
