"""The incidents of the second door, unpacked once a session; tests that change one make a copy."""

from __future__ import annotations

import functools
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from b2dinspect.doctor.case import open_case
from b2dinspect.doctor.diagnosis import Diagnosis, diagnose
from b2dinspect.provisioning.samples.incidents import unpack
from tests.opened import keep

PACKED = Path(__file__).parents[1] / "sample_images" / "incidents" / "second-door"
MANIFEST: dict[str, Any] = json.loads((PACKED / "manifest.json").read_text())
EXPECTED: dict[str, dict[str, Any]] = MANIFEST["incidents"]
AT = int(datetime.fromisoformat(MANIFEST["at"]).replace(tzinfo=UTC).timestamp())
_FOLDER = tempfile.TemporaryDirectory(prefix="b2dinspect-doors-")


@functools.cache
def door(name: str) -> Path:
    """Return the machine directory of an incident. It is shared: do not change it."""
    return unpack(PACKED / f"{name}.tar.xz", Path(_FOLDER.name) / "machines")


def copy_of(name: str, folder: Path) -> Path:
    """Return an incident of one's own below ``folder``."""
    return unpack(PACKED / f"{name}.tar.xz", folder / "machines")


def answer(folder: Path, at: float | None = AT) -> Diagnosis:
    """Return the doctor's answer as of the day for which the expectations are written."""
    return diagnose(keep(open_case(str(folder))), at)


def ids(folder: Path, at: float | None = AT) -> list[str]:
    """Return what the doctor finds."""
    return [one.finding.id for one in answer(folder, at).findings]
