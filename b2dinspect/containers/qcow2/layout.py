"""The header of a qcow2 image, its extensions, and what makes a header unbelievable.

Source: qemu, docs/interop/qcow2.txt, "Header", "Header extensions" and "Snapshots".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from construct import Bytes, Int8ub, Int16ub, Int32ub, Int64ub, Struct

from b2dinspect.containers.qcow2 import SIGNATURE
from b2dinspect.errors import ContainerError
from b2dinspect.fields import Bits, Header, Named
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource, read_exactly

LAYER = "qcow2 header"

DIRTY, CORRUPT, DATA_FILE, COMPRESSION, EXTENDED_L2 = 1, 2, 4, 8, 16
INCOMPATIBLE = {
    DIRTY: "dirty",
    CORRUPT: "corrupt",
    DATA_FILE: "external_data_file",
    COMPRESSION: "compression_type",
    EXTENDED_L2: "extended_l2",
}
LAZY_REFCOUNTS = 1
BITMAPS, RAW_EXTERNAL = 1, 2
NO_ENCRYPTION, AES, LUKS = 0, 1, 2
ENCRYPTIONS = {NO_ENCRYPTION: "none", AES: "AES", LUKS: "LUKS"}
DEFLATE, ZSTD = 0, 1

_COMMON = (
    "signature" / Bytes(4) * "QFI\\xfb",
    "version" / Int32ub * "2 (compat 0.10) or 3 (compat 1.1)",
    "backing_file_offset" / Int64ub * "where the backing file's name is, bytes; 0: none",
    "backing_file_size" / Int32ub * "bytes of that name, at most 1023",
    "cluster_bits" / Int32ub * "a cluster has 2 to the power of this many bytes",
    "size" / Int64ub * "virtual size in bytes",
    "crypt_method" / Named(Int32ub, ENCRYPTIONS) * "how clusters are encrypted",
    "l1_size" / Int32ub * "entries of the L1 table",
    "l1_table_offset" / Int64ub * "bytes",
    "refcount_table_offset" / Int64ub * "bytes",
    "refcount_table_clusters" / Int32ub * "clusters of the refcount table",
    "nb_snapshots" / Int32ub * "internal snapshots",
    "snapshots_offset" / Int64ub * "where the snapshot table is, bytes",
)
HEADER_2 = Struct(*_COMMON)
HEADER_3 = Struct(
    *_COMMON,
    "incompatible_features" / Bits(Int64ub, INCOMPATIBLE) * "a reader that knows one not must not open this",
    "compatible_features" / Bits(Int64ub, {LAZY_REFCOUNTS: "lazy_refcounts"}) * "may be ignored",
    "autoclear_features"
    / Bits(Int64ub, {BITMAPS: "bitmaps", RAW_EXTERNAL: "raw_external"})
    * "kept up to date",
    "refcount_order" / Int32ub * "a refcount has 2 to the power of this many bits",
    "header_length" / Int32ub * "bytes; the extensions follow",
)
HEADER_3_PLUS = Struct(
    *HEADER_3.subcons,
    "compression_type" / Named(Int8ub, {DEFLATE: "deflate", ZSTD: "zstd"}) * "of compressed clusters",
    "padding" / Bytes(7) * "zeros",
)

EXTENSION = Struct("type" / Int32ub * "what it is", "length" / Int32ub * "bytes of data, padded to 8")
END, BACKING_FORMAT, FEATURE_NAMES = 0, 0xE2792ACA, 0x6803F857
BITMAP_EXTENSION, CRYPTO_HEADER, DATA_FILE_NAME = 0x23852875, 0x0537BE77, 0x44415441
EXTENSIONS = {
    BACKING_FORMAT: "backing format",
    FEATURE_NAMES: "feature names",
    BITMAP_EXTENSION: "bitmaps",
    CRYPTO_HEADER: "crypto header",
    DATA_FILE_NAME: "data file name",
}

SNAPSHOT = Struct(
    "l1_table_offset" / Int64ub * "bytes",
    "l1_size" / Int32ub * "entries",
    "id_size" / Int16ub * "bytes of the id behind this and the extra data",
    "name_size" / Int16ub * "bytes of the name behind the id",
    "date_sec" / Int32ub * "when it was taken, Unix time",
    "date_nsec" / Int32ub * "",
    "vm_clock_nsec" / Int64ub * "how long the machine had run",
    "vm_state_size" / Int32ub * "bytes of the saved machine; 0: only the disk",
    "extra_size" / Int32ub * "bytes of extra data behind this",
)

MIN_BITS, MAX_BITS = 9, 21
MAX_L1_BYTES = 32 << 20
MAX_REFCOUNT_TABLE = 8 << 20
MAX_NAME = 1023
MAX_EXTENSIONS = 64
MAX_SNAPSHOTS = 65536
MAX_SNAPSHOT_TABLE = 1 << 20
"""Bytes of the snapshot table that are read: room for thousands."""


class Extension(NamedTuple):
    """A header extension: its type, its data, and where that is in the file (bytes)."""

    type: int
    data: bytes
    offset: int


class Snapshot(NamedTuple):
    """An internal snapshot. ``date`` is Unix time; ``l1_offset`` in bytes, ``l1_size`` in entries."""

    id: str
    name: str
    date: int
    l1_offset: int
    l1_size: int


def read_header(file: ByteSource) -> tuple[Header, Any]:
    """Return the header, once as bytes with its declaration and once parsed.

    Raises:
        ContainerError: It is cut short, or a field makes no sense.
    """
    start = HEADER_2.parse(read_exactly(file, 0, HEADER_2.sizeof(), ContainerError, LAYER))
    layout = HEADER_2
    if start.version == 3:
        raw = read_exactly(file, 0, HEADER_3.sizeof(), ContainerError, LAYER)
        layout = HEADER_3_PLUS if HEADER_3.parse(raw).header_length >= HEADER_3_PLUS.sizeof() else HEADER_3
    raw = read_exactly(file, 0, layout.sizeof(), ContainerError, LAYER)
    header = layout.parse(raw)
    _check(header)
    return Header(f"qcow2 header, version {header.version}", "file", 0, layout, raw), header


def _check(header: Any) -> None:
    bits, size = header.cluster_bits, header.size
    unknown = header.get("incompatible_features", 0) & ~sum(INCOMPATIBLE)
    checks = [
        ("signature", header.signature == SIGNATURE, SIGNATURE),
        ("version", header.version in (2, 3), "2 or 3"),
        ("cluster_bits", MIN_BITS <= bits <= MAX_BITS, f"{MIN_BITS} to {MAX_BITS}"),
        ("size", 0 < size < 1 << 63, "1 to 2^63 - 1 bytes"),
        ("crypt_method", header.crypt_method in ENCRYPTIONS, "0 to 2"),
        ("l1_size", header.l1_size * 8 <= MAX_L1_BYTES, f"at most {MAX_L1_BYTES // 8}"),
        ("refcount_order", header.get("refcount_order", 4) <= 6, "0 to 6"),
        ("header_length", header.get("header_length", 104) >= HEADER_3.sizeof(), "at least 104"),
        ("compression_type", header.get("compression_type", 0) in (DEFLATE, ZSTD), "0 or 1"),
    ]
    for field, is_sound, expected in checks:
        if not is_sound:
            raise ContainerError(
                f"{field} makes no sense",
                layer=LAYER,
                offset=field_offset(field),
                expected=expected,
                found=header[field],
            )
    if unknown:
        number = (unknown & -unknown).bit_length() - 1
        raise ContainerError(
            f"incompatible feature bit {number} is not known, so nobody knows how to read this",
            layer=LAYER,
            offset=field_offset("incompatible_features"),
        )
    needed = -(-size // (1 << bits) // entries_per_table(header))
    if needed * 8 > MAX_L1_BYTES:
        raise ContainerError(
            "size makes no sense for clusters of this size",
            layer=LAYER,
            offset=field_offset("size"),
            expected=f"at most {MAX_L1_BYTES // 8} L2 tables",
            found=needed,
        )


def field_offset(name: str) -> int:
    """Return where in the header this field is, in bytes."""
    offset = 0
    for part in HEADER_3_PLUS.subcons:
        if part.name == name:
            break
        offset += part.sizeof()
    return offset


def has_subclusters(header: Any) -> bool:
    """Tell whether L2 entries have 128 bits, of which the second half is a bitmap."""
    return bool(header.get("incompatible_features", 0) & EXTENDED_L2)


def entries_per_table(header: Any) -> int:
    """Return how many clusters of the disk an L2 table, which is a cluster, tells of."""
    return int(1 << header.cluster_bits) // (16 if has_subclusters(header) else 8)


def read_extensions(file: ByteSource, header: Any) -> Iterator[Extension]:
    """Yield the header extensions, which lie in the first cluster before the backing file's name."""
    position = header.get("header_length", HEADER_2.sizeof())
    end = min(file.size, header.backing_file_offset or 1 << 63, 1 << header.cluster_bits)
    for _ in range(MAX_EXTENSIONS):
        if position + EXTENSION.sizeof() > end:
            return
        found = EXTENSION.parse(file.pread(position, EXTENSION.sizeof()))
        position += EXTENSION.sizeof()
        if found.type == END or position + found.length > end:
            return
        yield Extension(found.type, file.pread(position, found.length), position)
        position += -(-found.length // 8) * 8


def read_backing_name(file: ByteSource, header: Any) -> str:
    """Return the backing file's name as written; "" when there is none, or it is not in the file."""
    where, length = header.backing_file_offset, header.backing_file_size
    if not where or not 0 < length <= MAX_NAME or where + length > file.size:
        return ""
    return file.pread(where, length).decode("utf-8", "surrogateescape")


def read_snapshots(file: ByteSource, header: Any) -> list[Snapshot]:
    """Return the internal snapshots, as many as the file and 1 MiB of table hold."""
    found: list[Snapshot] = []
    where = header.snapshots_offset
    table = file.pread(where, MAX_SNAPSHOT_TABLE) if 0 < where < file.size else b""
    position = 0
    for _ in range(min(header.nb_snapshots, MAX_SNAPSHOTS)):
        if position + SNAPSHOT.sizeof() > len(table):
            break
        one = SNAPSHOT.parse(table[position : position + SNAPSHOT.sizeof()])
        start = position + SNAPSHOT.sizeof() + one.extra_size
        middle, end = start + one.id_size, start + one.id_size + one.name_size
        if end > len(table):
            break
        names = table[start:middle], table[middle:end]
        identity, name = (raw.decode("utf-8", "surrogateescape") for raw in names)
        found.append(Snapshot(identity, name, one.date_sec, one.l1_table_offset, one.l1_size))
        position = -(-end // 8) * 8
    return found
