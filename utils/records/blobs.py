"""Content-addressed files: pictures and documents, named by the SHA-256 of what they hold.

A file appears under its name only when it is complete and on the disk. A process that dies
half-way leaves a temporary file that nothing refers to and that a later start removes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

from utils.errors import StorageFailed, StorageFull

_NAME = re.compile(r"[0-9a-f]{64}")
# EFBIG is what a quota by RLIMIT_FSIZE says.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_STALE_AFTER_S = 24 * 3600.0


class BlobStore:
    """Files under ``root/ab/abcd…``.

    Parameters
    ----------
    root : Path
        Made on first use.
    lowest_free_bytes : int
        Nothing is stored that would leave less than this on the disk.
    """

    def __init__(self, root: Path, *, lowest_free_bytes: int = 0) -> None:
        self.root = root
        self.lowest_free_bytes = lowest_free_bytes

    def put(self, data: bytes) -> str:
        """Store `data` durably and give its name; storing the same bytes twice costs nothing.

        Raises
        ------
        StorageFull
            If the disk has no room for it above the reserve.
        StorageFailed
            If the folder cannot be written.
        """
        name = hashlib.sha256(data).hexdigest()
        place = self.path(name)
        if place.exists():
            return name
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._require_room(len(data))
            self._write(place, data)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise StorageFull(
                    "The disk of this installation is full. Nothing was saved; "
                    "tell the administrator."
                ) from error
            raise StorageFailed("The folder for pictures cannot be written.") from error
        return name

    def read(self, name: str) -> bytes:
        """Read a file and check that it still holds what its name says.

        Raises
        ------
        StorageFailed
            If it is missing, unreadable or damaged.
        """
        try:
            data = self.path(name).read_bytes()
        except OSError as error:
            raise StorageFailed("A stored picture is missing.", code="blob_missing") from error
        if hashlib.sha256(data).hexdigest() != name:
            raise StorageFailed("A stored picture is damaged.", code="blob_damaged")
        return data

    def exists(self, name: str) -> bool:
        """Whether a file of this name is stored."""
        return self.path(name).is_file()

    def path(self, name: str) -> Path:
        """Place of the file called `name`, stored or not."""
        if not _NAME.fullmatch(name):
            raise StorageFailed("That is not the name of a stored picture.", code="blob_name")
        return self.root / name[:2] / name

    def free_bytes(self) -> int:
        """Free bytes on the disk of the store."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        return shutil.disk_usage(self.root).free

    def sweep(self, *, older_than_s: float = _STALE_AFTER_S) -> int:
        """Remove temporary files of processes that died; give how many."""
        limit = time.time() - older_than_s
        stale = [
            place for place in self.root.glob("??/.writing-*") if place.stat().st_mtime < limit
        ]
        for place in stale:
            place.unlink(missing_ok=True)
        return len(stale)

    def _require_room(self, size_bytes: int) -> None:
        if shutil.disk_usage(self.root).free - size_bytes < self.lowest_free_bytes:
            raise StorageFull(
                "The disk of this installation is nearly full. Nothing was saved; "
                "tell the administrator."
            )

    @staticmethod
    def _write(place: Path, data: bytes) -> None:
        handle, aside = tempfile.mkstemp(prefix=".writing-", dir=place.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(aside, place)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
        folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
