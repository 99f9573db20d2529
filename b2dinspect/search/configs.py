"""config.json of a machine, as docker-machine and minikube write it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator

from b2dinspect.search.facts import Find
from b2dinspect.search.scene import Scene

VERSION = b'"ConfigVersion"'
MAX_CONFIG, MAX_FRONT = 64 << 10, 4096
_MACHINE_NAME = re.compile(r'"MachineName":\s*"([^"\\]{1,64})"')
_OPEN = re.compile(rb"\{\s*$")


def config(scene: Scene, at: int) -> Iterator[Find]:
    """Yield the configuration whose version stands at a byte of the disk."""
    front = scene.before(at, min(at, MAX_FRONT))
    brace = _OPEN.search(front)
    start = at - len(brace[0]) if brace else at
    raw = scene.read(start, MAX_CONFIG)
    text = raw.decode("latin-1")
    name = _MACHINE_NAME.search(text)
    label = name[1].encode("latin-1").decode("utf-8", "surrogateescape") if name else ""
    try:
        found, end = json.JSONDecoder().raw_decode(text) if brace else (None, 0)
    except (ValueError, RecursionError):
        found, end = None, 0
    if isinstance(found, dict) and ("Driver" in found or "DriverName" in found):
        driver = found.get("DriverName")
        what = f"config.json of a machine, driver {driver}" if isinstance(driver, str) else "config.json"
        identity = hashlib.sha256(raw[:end]).digest()
        yield Find("config", start, end, "parsed", what, identity, comment=label)
        return
    known = raw.split(b"\0")[0]
    is_likely = b'"Driver' in known
    what = "config.json of a machine, cut" if is_likely else "a word of config.json"
    length = len(known) if is_likely else len(VERSION)
    sure = "likely" if is_likely else "looks-like"
    identity = hashlib.sha256(known[:length]).digest()
    yield Find("config", start, length, sure, what, identity, comment=label)  # type: ignore[arg-type]
