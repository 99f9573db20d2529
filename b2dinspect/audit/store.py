"""Records in a file, a line of JSON each, or a Parquet made of these; taken up again where they stopped.

Until all are there the file has another name, ``….part``: its last line may be torn, and is dropped then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from b2dinspect.errors import SourceError, UsageError

BATCH = 1000
MAX_LINE = 16 << 20


def part_of(path: Path) -> Path:
    """Return what a file of records is called until it is whole."""
    return path.with_name(f"{path.name}.part")


class Store:
    """Where records go. A context manager: leaving it normally gives the file its name.

    Args:
        path: The file; ``.parquet`` for one of these, else lines of JSON.
        force: Replace an existing one.

    Attributes:
        done: Subjects that have their record already.

    Raises:
        UsageError: The file exists, or pyarrow is not installed.
    """

    def __init__(self, path: Path, force: bool = False) -> None:
        if path.exists() and not force:
            raise UsageError(f"{path} exists").naming("force")
        self._path, self._part = path, part_of(path)
        if path.suffix == ".parquet":
            _pyarrow()
        self.done = self._taken_up() if self._part.exists() else frozenset()
        try:
            self._file = self._part.open("ab")
        except OSError as error:
            raise SourceError(f"cannot write {self._part}: {error.strerror}") from error

    def _taken_up(self) -> frozenset[str]:
        """Return whose records are whole, and drop what is left of the one that is not."""
        found, end = set[str](), 0
        with self._part.open("rb") as file:
            for line in iter(lambda: file.readline(MAX_LINE), b""):
                if not line.endswith(b"\n"):
                    break
                found.add(json.loads(line)["subject"])
                end += len(line)
        os.truncate(self._part, end)
        return frozenset(found)

    def add(self, line: str) -> None:
        """Add a record."""
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        os.fsync(self._file.fileno())
        self._file.close()
        if kind is not None:
            return
        if self._path.suffix == ".parquet":
            _to_parquet(self._part, self._path)
            self._part.unlink()
        else:
            self._part.replace(self._path)


def records_in(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a file.

    Raises:
        UsageError: It is no file of records, or needs pyarrow.
        SourceError: It cannot be read.
    """
    try:
        if path.suffix == ".parquet":
            _, parquet = _pyarrow()
            with parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(BATCH):
                    yield from batch.to_pylist()
            return
        with path.open("rb") as file:
            for line in iter(lambda: file.readline(MAX_LINE), b""):
                record = json.loads(line)
                if not isinstance(record, dict) or "schema_version" not in record:
                    raise UsageError(f"{path} has a line that is no record of an audit")
                yield record
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror or error}", layer=str(path)) from error
    except ValueError as error:
        raise UsageError(f"{path} is no file of records: {error}") from error


def _pyarrow() -> Any:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UsageError("a Parquet file needs pyarrow (pip install 'b2dinspect[audit]')") from None
    return pyarrow, parquet


def _to_parquet(lines: Path, path: Path) -> None:
    arrow, parquet = _pyarrow()
    text, number, flag = arrow.string(), arrow.int64(), arrow.bool_()
    key = arrow.struct(
        [("fingerprint_sha256", text), ("comment", text), ("source", text), ("in_force", flag)]
    )
    engine = arrow.struct(
        [("engine", text), *((name, number) for name in ("containers", "images", "volumes"))]
    )
    texts = (
        "machine",
        "driver",
        "disk",
        "format",
        "sha256",
        "state",
        "owner",
        "guest",
        "private_key_sha256",
        "key",
    )
    schema = arrow.schema(
        [
            *(("schema_version", number), ("subject", text), ("error", text)),
            *((name, text) for name in texts),
            *(("virtual_size", number), ("file_size", number), ("files", arrow.list_(text))),
            *(("keys", arrow.list_(key)), ("can_enter", flag), ("healthy", flag)),
            *(("findings", arrow.list_(text)), ("engines", arrow.list_(engine))),
        ]
    )
    temporary = path.with_name(f"{path.name}.new")
    with parquet.ParquetWriter(temporary, schema) as writer:
        batch: list[dict[str, Any]] = []
        for record in records_in_lines(lines):
            batch.append(_valid(record))
            if len(batch) >= BATCH:
                writer.write_table(arrow.Table.from_pylist(batch, schema=schema))
                batch = []
        if batch:
            writer.write_table(arrow.Table.from_pylist(batch, schema=schema))
    temporary.replace(path)


def records_in_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of lines of JSON, whatever the file is called."""
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)


def _valid(value: Any) -> Any:
    """Return a record whose text Parquet can hold: a byte that is no UTF-8 is written escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {name: _valid(one) for name, one in value.items()}
    return [_valid(one) for one in value] if isinstance(value, list) else value
