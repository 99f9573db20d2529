"""The packed incidents, unpacked once a run; tests that change one make a copy."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

from b2dinspect.doctor.case import Case, open_case
from b2dinspect.doctor.diagnosis import Diagnosis, diagnose
from b2dinspect.provisioning.samples.incidents import unpack
from tests.opened import keep
from tests.shared import once, shared_folder

PACKED = Path(__file__).parents[1] / "sample_images" / "incidents"
MANIFEST: dict[str, dict[str, Any]] = json.loads((PACKED / "manifest.json").read_text())["incidents"]
NAMES = tuple(MANIFEST)


@functools.cache
def incident(name: str) -> Path:
    """Return the machine directory of an incident. It is shared: do not change it."""
    place = shared_folder("incidents") / "machines"
    return once(f"incident-{name}", lambda: unpack(PACKED / f"{name}.tar.xz", place))


def copy_of(name: str, folder: Path) -> Path:
    """Return an incident of one's own below ``folder``."""
    return unpack(PACKED / f"{name}.tar.xz", folder / "machines")


def bare_copy(name: str, folder: Path) -> Path:
    """Return a copy whose config.json still names the shared place."""
    return Path(shutil.copytree(incident(name), folder / name))


def ids(subject: Path | str) -> list[str]:
    """Return what the doctor finds."""
    return [one.finding.id for one in answer(subject).findings]


def answer(subject: Path | str) -> Diagnosis:
    """Return the doctor's answer."""
    return diagnose(case(subject))


def case(subject: Path | str) -> Case:
    """Return the facts."""
    return keep(open_case(str(subject)))
