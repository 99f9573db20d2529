"""One subject's record: what is kept of an inspection and a diagnosis, as plain data."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from b2dinspect.doctor.case import Case, open_case
from b2dinspect.doctor.diagnosis import Diagnosis, diagnose
from b2dinspect.errors import B2dError
from b2dinspect.evidence.urls import shown
from b2dinspect.source import ByteSource
from b2dinspect.userdata.admission import Visit

SCHEMA_VERSION = 1
CHUNK = 4 << 20


def line_of(subject: str, at: int, hashes: bool = False) -> str:
    """Return a subject's record as one line of JSON; never raises for what the evidence holds.

    Args:
        subject: A path or URL.
        at: Seconds since 1970 for which keys and certificates are judged.
        hashes: Whether the evidence is hashed, which reads all of it.
    """
    return json.dumps(record_of(subject, at, hashes))


def record_of(subject: str, at: int, hashes: bool = False) -> dict[str, Any]:
    """Return a subject's record; see ``line_of``."""
    try:
        with open_case(subject, visit=Visit(at)) as case:
            found = _told(subject, case, diagnose(case, at), hashes)
            return _named(found, case) if case.scratch else found
    except B2dError as error:
        return failed(subject, str(error))
    except (OSError, RecursionError, MemoryError, ValueError, ArithmeticError, LookupError) as error:
        return failed(subject, f"{type(error).__name__}: {error}")


def _named(found: dict[str, Any], case: Case) -> dict[str, Any]:
    """Return a record without the folder in which a packed machine was looked at."""
    place = f"{case.scratch.name}/" if case.scratch else ""
    texts = {name: value.replace(place, "") for name, value in found.items() if isinstance(value, str)}
    return {**found, **texts, "files": [path.replace(place, "") for path in found["files"]]}


def failed(subject: str, why: str) -> dict[str, Any]:
    """Return the record of what could not be inspected."""
    return {"schema_version": SCHEMA_VERSION, "subject": shown(subject), "error": why}


def _told(subject: str, case: Case, found: Diagnosis, hashes: bool) -> dict[str, Any]:
    disk, machine, private = case.disk, case.machine, case.keys.private
    identity = private.identity if private else b""
    keys = [
        {
            "fingerprint_sha256": key.line.key.sha256,
            "comment": key.line.comment,
            "source": key.source,
            "in_force": key.in_force,
        }
        for key in (disk.keys if disk else ())
        if key.line.key
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "subject": shown(subject),
        "error": case.trouble or None,
        "machine": machine.name if machine else None,
        "driver": machine.driver if machine else None,
        "disk": case.path or None,
        "format": disk.container.format if disk else None,
        "virtual_size": disk.container.size if disk else None,
        "file_size": disk.file_size if disk else None,
        "files": [link.path for link in disk.links] if disk else [],
        "sha256": _sha256(disk.container.file) if disk and hashes else None,
        "state": disk.state if disk else None,
        "owner": disk.ownership.owner if disk else None,
        "guest": disk.guest.profile if disk else None,
        "keys": keys,
        "private_key_sha256": _fingerprint(identity) if identity else None,
        "key": found.key,
        "can_enter": any(key["in_force"] for key in keys),
        "healthy": found.is_healthy,
        "findings": [one.finding.id for one in found.findings if one.finding.is_fault],
        "engines": [
            {
                "engine": one.engine,
                "containers": one.containers,
                "images": one.images,
                "volumes": one.volumes,
            }
            for one in found.engines
        ],
    }


def _fingerprint(identity: bytes) -> str:
    import base64

    digest = hashlib.sha256(identity).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _sha256(file: ByteSource) -> str:
    """Return the hash of the container file; of a disk of several files, that of the first."""
    digest = hashlib.sha256()
    for offset in range(0, file.size, CHUNK):
        digest.update(file.pread(offset, CHUNK))
    return digest.hexdigest()
