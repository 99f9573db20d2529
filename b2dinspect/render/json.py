"""Facts as JSON-ready dictionaries. The shapes are promised by ``schemas/*.schema.json``.

Bytes from the evidence become text as UTF-8 with ``surrogateescape``: a byte 0xNN that is not UTF-8 is the
lone surrogate U+DCNN, so no byte is lost and ``text.encode("utf-8", "surrogateescape")`` gives them all back.
A header's field is shown without its trailing NULs; its ``size`` tells how many there were.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from b2dinspect.fields import Header
from b2dinspect.filesystems.ext4 import DirectoryEntry
from b2dinspect.findings import Finding
from b2dinspect.inspection.facts import FoundKey, Inspection, Ownership, Userdata
from b2dinspect.inspection.volumes import Volume
from b2dinspect.userdata.authorized_keys import KeyLine
from b2dinspect.userdata.tarball import Tarball, TarEntry

if TYPE_CHECKING:
    from b2dinspect.containers import Container
    from b2dinspect.docker.summary import Summary
    from b2dinspect.views.annotation import Region
    from b2dinspect.views.comparison import Comparison, Key

SCHEMA_VERSION = 1


def dumps(document: dict[str, Any]) -> str:
    """Return the document as ASCII-only JSON: harmless on any terminal, lossless for any bytes."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **document}, indent=2)


def plain(found: object) -> str:
    """Return a part of a document, ASCII-only too."""
    return json.dumps(found, indent=2)


def stream(document: dict[str, Any], name: str, items: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the document with a list in it, piece by piece, each item on a line as soon as it is there."""
    head = dumps({**document, name: []}).rstrip("}\n ")
    yield head.removesuffix("]")
    before = "\n    "
    for item in items:
        yield before + json.dumps(item)
        before = ",\n    "
    yield "\n  ]\n}\n"


def text(data: bytes) -> str:
    """Return bytes as the text that stands for them in JSON."""
    return data.decode("utf-8", "surrogateescape")


def show(facts: Inspection, findings: Sequence[Finding], engines: Sequence[Summary] = ()) -> dict[str, Any]:
    """Return the document of ``show --json``."""
    disk = facts.container
    return {
        "path": facts.path,
        "read_from": facts.origin,
        "container": {
            "format": disk.format,
            "variant": disk.variant,
            "virtual_size": disk.size,
            "file_size": facts.file_size,
            "allocated_size": disk.allocated_size,
            "header": {name: value for header in disk.headers for name, value in fields(header).items()},
            "files": [link._asdict() for link in facts.links],
        },
        "state": facts.state,
        "reason": facts.reason,
        "ownership": ownership(facts.ownership),
        "guest": {
            "profile": facts.guest.profile,
            "releases": [*facts.guest.releases],
            "evidence": [*facts.guest.evidence],
        },
        "magic": {
            "found": facts.magic.found,
            "virtual_offset": 0,
            "file_offset": facts.magic.file_offset,
            "damaged_at": [*facts.magic.damaged_at],
            "copy_virtual_offset": facts.magic.copy_offset,
        },
        "table": {"kind": facts.table.kind, "reasons": [*facts.table.reasons]},
        "partitions": [_partition(volume) for volume in facts.volumes],
        "living": [_partition(volume) | {"offset": volume.partition.offset} for volume in facts.living],
        "data_partition": facts.data and facts.data.volume.partition.number,
        "userdata": [_userdata(item) for item in facts.userdata],
        "keys": [key(item) for item in facts.keys],
        "engines": [engine(item) for item in engines],
        "findings": [finding(item) for item in findings],
    }


def ownership(found: Ownership) -> dict[str, Any]:
    """Return whose disk it is, and by what."""
    return {
        "owner": found.owner,
        "sure": found.sure,
        "evidence": [*found.evidence],
        "seems": [one._asdict() for one in found.seems],
    }


def engine(found: Summary) -> dict[str, Any]:
    """Return what one container engine left."""
    return {
        **found._asdict(),
        "version": found.version or None,
        "path": text(found.path) or "/",
        "drivers": [*found.drivers],
        "meant": found.meant or None,
        "text": found.text,
    }


def headers(facts: Inspection) -> list[dict[str, Any]]:
    """Return every decoded structure with its fields, for ``show --json --headers``."""
    from b2dinspect.views.annotation import all_headers  # needed for nothing else

    return [
        {
            "name": header.name,
            "space": header.space,
            "offset": header.offset,
            "size": len(header.data),
            "fields": [{**field._asdict(), "value": value(field.value)} for field in header.fields()],
        }
        for header in all_headers(facts)
    ]


def region(found: Region) -> dict[str, Any]:
    """Return annotated bytes."""
    return {
        "title": found.title,
        "space": found.space,
        "offset": found.offset,
        "file_offset": found.file_offset,
        "data": found.data.hex(),
        "missing": [{"offset": found.offset + a, "length": b - a} for a, b in found.missing],
        "fields": [
            {
                "offset": span.offset,
                "size": span.field.size,
                "structure": span.structure,
                "name": span.field.name,
                "value": value(span.field.value),
                "meaning": span.field.meaning,
                "doc": span.field.doc,
                "odd": span.is_odd,
            }
            for span in sorted(found.spans, key=lambda one: one.offset)
        ],
    }


def fields(header: Header) -> dict[str, Any]:
    """Return a structure's values by name."""
    return {field.name: value(field.value) for field in header.fields()}


def value(found: object) -> object:
    """Return a field's value as JSON has it."""
    if isinstance(found, bytes):
        return text(found.rstrip(b"\0"))
    return found if isinstance(found, int) else str(found)


def _partition(volume: Volume) -> dict[str, Any]:
    part = volume.partition
    return {
        "table": part.table,
        "number": part.number,
        "start_sector": part.start,
        "sectors": part.sectors,
        "type": part.type,
        "type_name": part.type_name,
        "name": part.name,
        "partition_uuid": part.uuid,
        "filesystem": volume.filesystem,
        "label": text(volume.label),
        "uuid": volume.uuid,
    }


def _userdata(item: Userdata) -> dict[str, Any]:
    return {
        "source": item.source,
        "path": item.path,
        "virtual_offset": item.virtual_offset,
        "file_offset": item.file_offset,
        "size": item.size,
        "truncated": item.tar.truncated,
        "trailer": item.tar.trailer,
        "cut_by_guest": _is_cut_by_guest(item.kept, item.tar),
        "entries": [_tar_entry(item, entry) for entry in item.tar.entries],
    }


def _is_cut_by_guest(kept: Tarball | None, tar: Tarball) -> bool:
    return kept is not None and (kept.truncated or len(kept.entries) < len(tar.entries))


def _tar_entry(item: Userdata, entry: TarEntry) -> dict[str, Any]:
    virtual, file = item.locate(entry.header_offset)
    return {
        "name": text(entry.name),
        "type": entry.type,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime": entry.mtime,
        "size": entry.size,
        "available": entry.available,
        "virtual_offset": virtual,
        "file_offset": file,
        "linkname": text(entry.linkname),
    }


def key(found: FoundKey) -> dict[str, Any]:
    """Return one key line."""
    return {
        "source": found.source,
        "file": found.file,
        **line(found.line),
        "in_force": found.in_force,
        "why_not": found.why_not or None,
        "proviso": found.proviso or None,
    }


def line(found: KeyLine) -> dict[str, Any]:
    """Return what a line of authorized_keys says."""
    decoded = found.key
    return {
        "line": found.number,
        "type": found.type,
        "bits": decoded.bits if decoded else None,
        "fingerprint_sha256": decoded.sha256 if decoded else None,
        "fingerprint_md5": decoded.md5 if decoded else None,
        "comment": found.comment,
        "options": [str(option) for option in found.options],
        "valid": found.valid,
        "error": found.error or None,
    }


def finding(item: Finding) -> dict[str, Any]:
    """Return one finding."""
    return item._asdict()


def comparison(item: Comparison) -> dict[str, Any]:
    """Return one comparison of two sets of keys."""
    return {
        "left": item.left.label,
        "right": item.right.label,
        "same": [_side_key(left) for left, _ in item.same],
        "changed": [{"left": _side_key(left), "right": _side_key(right)} for left, right in item.changed],
        "only_left": [_side_key(one) for one in item.only_left],
        "only_right": [_side_key(one) for one in item.only_right],
        "broken_left": [{"from": one.origin, **line(one.line)} for one in item.left.broken],
        "broken_right": [{"from": one.origin, **line(one.line)} for one in item.right.broken],
        "differs": item.differs,
    }


def _side_key(one: Key) -> dict[str, Any]:
    return {"from": one.origin, **line(one.line)}


def verification(path: str, disk: Container) -> dict[str, Any]:
    """Return what a container says of itself."""
    return {
        "path": path,
        "format": disk.format,
        "variant": disk.variant,
        "virtual_size": disk.size,
        "allocated_size": disk.allocated_size,
        "sound": not any(item.is_fault for item in disk.findings),
        "findings": [finding(item) for item in disk.findings],
    }


def directory_entry(entry: DirectoryEntry) -> dict[str, Any]:
    """Return one name in a directory."""
    node = entry.node
    return {
        "name": text(entry.name),
        "type": entry.type,
        "mode": f"{node.mode & 0o7777:04o}",
        "uid": node.uid,
        "gid": node.gid,
        "size": node.size,
        "mtime": node.mtime,
        "inode": node.inode,
        "target": text(node.link) if entry.type == "symlink" else None,
    }
