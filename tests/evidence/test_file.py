"""Opening evidence: always without a trace on it."""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from b2dinspect.errors import SourceError, UsageError
from b2dinspect.evidence.file import open_evidence
from tests.evidence.handmade import content


def test_plain_file(write: Callable[[bytes], str]) -> None:
    source = open_evidence(write(b"plain"))
    assert (source.size, source.origin) == (5, "file")
    assert content(source) == b"plain"


@pytest.mark.parametrize("data", [b"", b"\x1f", b"\x1f\x8c"])
def test_files_that_are_hardly_a_gzip(write: Callable[[bytes], str], data: bytes) -> None:
    assert content(open_evidence(write(data))) == data


def test_allocated_size_of_a_sparse_file(write: Callable[[bytes], str]) -> None:
    path = write(b"x")
    os.truncate(path, 64 << 20)
    with contextlib.closing(open_evidence(path)) as source:
        assert source.size == 64 << 20
        assert source.allocated == Path(path).stat().st_blocks * 512


def test_reading_leaves_no_trace(write: Callable[[bytes], str]) -> None:
    for data in (b"plain", gzip.compress(b"packed")):
        path = write(data)
        os.utime(path, ns=(1_000_000_000, 2_000_000_000))
        Path(path).chmod(0o444)
        before = Path(path).stat()
        content(open_evidence(path))
        after = Path(path).stat()
        assert (after.st_mtime_ns, after.st_ctime_ns, after.st_mode) == (
            before.st_mtime_ns,
            before.st_ctime_ns,
            before.st_mode,
        )
        if hasattr(os, "O_NOATIME"):
            assert after.st_atime_ns == 1_000_000_000
        assert Path(path).read_bytes() == data
        Path(path).chmod(0o644)


def test_the_descriptor_cannot_write(write: Callable[[bytes], str]) -> None:
    with (
        contextlib.closing(open_evidence(write(b"plain"))) as source,
        pytest.raises(OSError, match="Bad file"),
    ):
        os.write(source._fd, b"x")


def test_file_of_somebody_else_is_opened_without_noatime(
    write: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real_open = write(b"plain"), os.open

    def strict_open(name: str, flags: int, *, dir_fd: int | None = None) -> int:
        if flags & os.O_NOATIME:
            raise PermissionError(1, "Operation not permitted")
        return real_open(name, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", strict_open)
    assert content(open_evidence(path)) == b"plain"


@pytest.mark.usefixtures("no_descriptor_is_lost")
def test_what_is_no_disk_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a directory"):
        open_evidence(str(tmp_path))
    with pytest.raises(UsageError, match="neither a file nor a block device"):
        open_evidence(os.devnull)


@pytest.mark.usefixtures("no_descriptor_is_lost")
def test_a_fifo_without_a_writer_does_not_hang(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(UsageError, match="to read a stream, give -"):
        open_evidence(str(fifo))


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "No such file"), ("nul\0byte", "null byte"), ("x" * 300, "too long")]
)
def test_what_cannot_be_opened_is_named(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as caught:
        open_evidence(str(tmp_path / name))
    assert name in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no file modes")
def test_a_file_without_permission(write: Callable[[bytes], str]) -> None:
    path = write(b"secret")
    Path(path).chmod(0)
    child = os.fork()
    if child == 0:  # root may read everything, so a child becomes nobody
        status = 1
        try:
            if os.geteuid() == 0:
                os.seteuid(65534)
            open_evidence(path)
        except SourceError as error:
            status = 0 if "Permission denied" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
