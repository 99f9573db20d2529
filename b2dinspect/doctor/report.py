"""Everything about one case, gathered for a report: facts, judgement, pictures, and what the evidence is.

The evidence is read once more from its first byte to its last, for its hashes.
"""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from b2dinspect import __version__
from b2dinspect.docker.contents import contents
from b2dinspect.docker.facts import Contents
from b2dinspect.docker.roots import open_roots
from b2dinspect.doctor.case import Case
from b2dinspect.doctor.diagnosis import Diagnosis, diagnose, evidence_bytes
from b2dinspect.errors import EvidenceError
from b2dinspect.evidence.file import Progress, open_evidence
from b2dinspect.evidence.urls import is_url
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource
from b2dinspect.views.annotation import Region, overview
from b2dinspect.views.diskmap import DiskMap, draw

CHUNK = 1 << 22


class Evidence(NamedTuple):
    """A file that was looked at.

    Attributes:
        path: As it was given, or found.
        size: Bytes; as unpacked, for a packed image.
        sha256: Of these bytes; "" when they could not be read.
        md5: The same.
        mtime: Last change of the file, seconds since 1970.
        error: Why it could not be read.
    """

    path: str
    size: int
    sha256: str
    md5: str
    mtime: float
    error: str = ""


class Report(NamedTuple):
    """What a report says.

    Attributes:
        diagnosis: Facts and judgement.
        evidence_bytes: For each finding the bytes that it points at.
        evidence: The files, hashed.
        map: The picture; None without a disk.
        regions: Annotated bytes.
        engines: What container engines left, in full.
        version: Of this program.
        made: When, seconds since 1970.
    """

    diagnosis: Diagnosis
    evidence_bytes: tuple[bytes, ...]
    evidence: tuple[Evidence, ...]
    map: DiskMap | None
    regions: tuple[Region, ...]
    engines: tuple[Contents, ...]
    version: str
    made: float


def gather(case: Case, progress: Progress | None = None, at: float | None = None) -> Report:
    """Return all that a report says about a case; certificates are judged for ``at``, by default now."""
    diagnosis = diagnose(case, at)
    disk = case.disk
    found = tuple(evidence_bytes(disk, one.finding) if disk else b"" for one in diagnosis.findings)
    return Report(
        diagnosis,
        found,
        tuple(_hashed(path, progress) for path in _files(case)),
        draw(disk) if disk else None,
        tuple(overview(disk)) if disk else (),
        _engines(diagnosis),
        __version__,
        time.time(),
    )


def _engines(diagnosis: Diagnosis) -> tuple[Contents, ...]:
    """Return what is in each data-root of the disk."""
    if diagnosis.case.disk is None or not diagnosis.engines:
        return ()
    with open_roots(diagnosis.case.disk) as roots:
        return tuple(found for root in roots if any((found := contents(root))[1:4]))


def _files(case: Case) -> list[str]:
    """Return the files that the report rests on; a private key is none of them."""
    paths = [case.path] if case.path and case.path != "-" else []
    paths += [link.path for link in case.disk.links] if case.disk else []
    if case.machine is not None:
        known = (case.machine.config.file, case.machine.keys.public and case.machine.keys.public.file)
        paths += [str(file.path) for file in known if file and not file.error]
    return list(dict.fromkeys(paths))


def _hashed(path: str, progress: Progress | None) -> Evidence:
    if is_url(path):
        return Evidence(path, 0, "", "", 0.0, "is on another machine: not hashed")
    try:
        source = open_evidence(path, progress)
    except EvidenceError as error:
        return Evidence(path, 0, "", "", 0.0, error.message)
    try:
        sha256, md5 = _digests(source, progress)
        mtime = Path(path).stat().st_mtime
    except (EvidenceError, OSError) as error:
        return Evidence(path, source.size, "", "", 0.0, str(error))
    finally:
        source.close()
    return Evidence(path, source.size, sha256, md5, mtime)


def _digests(source: ByteSource, progress: Progress | None) -> tuple[str, str]:
    """Return SHA-256 and MD5 of all bytes, read once: both work on a chunk while the next one is read."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with ThreadPoolExecutor(2) as pool:
        at_work: list[Future[None]] = []
        for offset in range(0, source.size, CHUNK):
            data = source.pread(offset, CHUNK)
            wait(at_work)
            at_work = [pool.submit(one.update, data) for one in (sha256, md5)]
            if progress:
                progress("hashing", offset, source.size)
    return sha256.hexdigest(), md5.hexdigest()
