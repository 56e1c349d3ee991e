"""The store of pictures: whole files or none."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from utils.errors import StorageFailed, StorageFull
from utils.records.blobs import BlobStore
from utils.settings import PROJECT_ROOT


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def _files(store: BlobStore) -> list[Path]:
    return [place for place in store.root.rglob("*") if place.is_file()]


def test_what_was_put_is_read(store: BlobStore) -> None:
    name = store.put(b"a picture")
    assert name == hashlib.sha256(b"a picture").hexdigest()
    assert store.read(name) == b"a picture"
    assert store.exists(name)
    assert store.path(name).read_bytes() == b"a picture"
    assert _files(store) == [store.path(name)]
    assert store.path(name).stat().st_mode & 0o077 == 0


@given(st.lists(st.binary(max_size=64), max_size=6))
@hypothesis_settings(max_examples=20, deadline=None, derandomize=True)
def test_every_content_has_one_file(tmp_path_factory: pytest.TempPathFactory, contents) -> None:
    store = BlobStore(tmp_path_factory.mktemp("blobs"))
    names = [store.put(content) for content in contents]
    assert [store.read(name) for name in names] == contents
    assert len(_files(store)) == len(set(contents))


def test_the_same_bytes_are_not_written_again(store: BlobStore) -> None:
    name = store.put(b"a picture")
    before = store.path(name).stat().st_mtime_ns
    assert store.put(b"a picture") == name
    assert store.path(name).stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "/.."])
def test_only_names_of_the_store_have_a_place(store: BlobStore, name: str) -> None:
    with pytest.raises(StorageFailed):
        store.path(name)


def test_a_missing_file_and_a_damaged_one_are_told_apart(store: BlobStore) -> None:
    name = store.put(b"a picture")
    with pytest.raises(StorageFailed) as missing:
        store.read("0" * 64)
    store.path(name).write_bytes(b"A picture")
    with pytest.raises(StorageFailed) as damaged:
        store.read(name)
    assert (missing.value.code, damaged.value.code) == ("blob_missing", "blob_damaged")


def test_the_reserve_of_the_disk_is_kept(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs", lowest_free_bytes=10**18)
    with pytest.raises(StorageFull, match="nearly full"):
        store.put(b"a picture")
    assert _files(store) == []


@pytest.fixture
def file_size_limit() -> Iterator[int]:
    """A real limit of the system's: writing past it fails in the middle of the file."""
    limit = 64 * 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_while_writing_leaves_nothing(
    store: BlobStore, file_size_limit: int
) -> None:
    with pytest.raises(StorageFull):
        store.put(os.urandom(2 * file_size_limit))
    assert _files(store) == []
    assert store.read(store.put(b"small")) == b"small"


_FILL = """
import os, sys
from pathlib import Path
from utils.errors import StorageFull
from utils.records.blobs import BlobStore
store = BlobStore(Path(sys.argv[1]) / "blobs")
kept = []
try:
    while True:
        kept.append(store.put(os.urandom(100_000)))
except StorageFull:
    pass
assert kept, "nothing fitted"
for name in kept:
    store.read(name)
files = [p for p in Path(sys.argv[1]).rglob("*") if p.is_file()]
assert len(files) == len(kept), files
print("full after", len(kept))
"""


def test_a_full_disk_leaves_only_whole_files(tmp_path: Path) -> None:
    """A real little disk of 1 MB, mounted in a namespace of its own."""
    script = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -c "$3" "$1"'
    unshare = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh"]
    probe = subprocess.run(
        [*unshare, str(tmp_path), sys.executable, "pass"], capture_output=True, check=False
    )
    if probe.returncode != 0:
        pytest.skip("a small disk to fill cannot be mounted here: the kernel refuses a namespace")
    done = subprocess.run(
        [*unshare, str(tmp_path), sys.executable, _FILL],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "full after" in done.stdout


def test_a_folder_that_cannot_be_written_is_no_full_disk(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("a file where the folder should be")
    with pytest.raises(StorageFailed):
        BlobStore(tmp_path / "blobs").put(b"a picture")


_DIE = """
import os, signal, sys, threading, time
from pathlib import Path
from utils.records.blobs import BlobStore
store = BlobStore(Path(sys.argv[1]))
real = os.fsync
def die(handle):
    os.kill(os.getpid(), signal.SIGKILL)
os.fsync = die  # the moment between writing the bytes and naming them
store.put(b"x" * 1_000_000)
"""


def test_a_process_killed_while_writing_leaves_no_named_file(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs")
    died = subprocess.run(
        [sys.executable, "-c", _DIE, str(store.root)], cwd=PROJECT_ROOT, check=False
    )
    assert died.returncode == -9
    left = _files(store)
    assert len(left) == 1
    assert left[0].name.startswith(".writing-")
    assert not store.exists(hashlib.sha256(b"x" * 1_000_000).hexdigest())
    assert store.sweep() == 0  # it could belong to a worker that is writing now
    assert store.sweep(older_than_s=-1) == 1
    assert _files(store) == []
