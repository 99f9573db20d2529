"""Running the program: as a process of its own where that matters, within this one where speed does."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from typer.testing import CliRunner

import b2dinspect.render
from b2dinspect.cli.main import app
from tests.oracles import PATIENCE
from tests.shared import once, shared_folder

SAMPLES = Path(__file__).parents[2] / "sample_images"

MANIFEST: dict[str, dict[str, Any]] = json.loads((SAMPLES / "manifest.json").read_text())["samples"]
SCHEMAS = Path(b2dinspect.render.__file__).parent / "schemas"
COMMANDS = (
    *("show", "keys", "diff", "ls", "cat", "get", "verify"),
    *("logs", "doctor", "choice", "query", "hexdump", "map", "report"),
)
USERDATA_PATH = "/var/lib/boot2docker/userdata.tar"

Done = subprocess.CompletedProcess[bytes]

_DECIDES_OUTPUT = {
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR_FORCE",
    "PY_COLORS",
    "GITHUB_ACTIONS",
    "TTY_COMPATIBLE",
    "PYTHONUNBUFFERED",
}
_TERMINAL = {"COLUMNS": "80", "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
PLAIN = _TERMINAL | dict.fromkeys(_DECIDES_OUTPUT)
"""An environment for CliRunner: 80 columns, no colour."""
PROGRAM = (sys.executable, "-m", "b2dinspect")


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return this environment without what would change the output."""
    kept = {name: value for name, value in os.environ.items() if name not in _DECIDES_OUTPUT}
    return kept | _TERMINAL | (extra or {})


def b2d(*args: object, stdin: bytes | None = None, env: dict[str, str] | None = None, **more: Any) -> Done:
    """Run the program as a process."""
    command = [*PROGRAM, *(os.fspath(arg) if isinstance(arg, Path) else arg for arg in args)]
    more = {"capture_output": True, **more}
    return subprocess.run(command, input=stdin or b"", env=environment(env), timeout=PATIENCE, **more)


def invoke(*args: object, columns: int = 80) -> Done:
    """Run the program within this process. An exception that would be a traceback is raised."""
    words = [os.fspath(arg) if isinstance(arg, Path) else str(arg) for arg in args]
    env = PLAIN | {"COLUMNS": str(columns)}
    result = CliRunner().invoke(app, words, catch_exceptions=False, env=env, terminal_width=columns - 2)
    return subprocess.CompletedProcess(words, result.exit_code, result.stdout_bytes, result.stderr_bytes)


def on_terminal(*args: object, env: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Run the program on a pseudo-terminal; return its status and what it printed there."""
    import pty  # Windows has none

    ours, theirs = pty.openpty()
    try:
        command = [*PROGRAM, *(str(arg) for arg in args)]
        process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env=environment(env)
        )
        os.close(theirs)
        printed = b""
        while chunk := _read_terminal(ours):
            printed += chunk
        return process.wait(PATIENCE), printed.replace(b"\r\n", b"\n")
    finally:
        os.close(ours)


def _read_terminal(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # Linux says so when the other side is closed
        return b""


def document(done: Done, command: str) -> dict[str, Any]:
    """Return the JSON that a command printed, checked against its schema."""
    assert done.stdout.isascii()
    found = json.loads(done.stdout)
    validator(command).validate(found)
    return found


@functools.cache
def validator(command: str) -> Draft202012Validator:
    """Return what checks a command's JSON."""
    schemas = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    registry = Registry().with_resources(
        (name, Resource.from_contents(schema)) for name, schema in schemas.items()
    )
    schema = schemas[f"{command}.schema.json"]
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, registry=registry)


def evidence_bytes(text: str) -> bytes:
    """Return the bytes that a JSON string stands for."""
    return text.encode("utf-8", "surrogateescape")


def is_harmless(text: str) -> bool:
    """Tell whether no character of the text but the newline steers a terminal or hides."""
    hidden = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return not any(unicodedata.category(char) in hidden for char in text if char != "\n")


@functools.cache
def unpacked(name: str) -> Path:
    """Return a sample's image, unpacked once a run, with holes for its zeros."""
    return once(f"sample-{name}", lambda: _unpack(name))


def _unpack(name: str) -> Path:
    path = shared_folder("samples") / name
    with gzip.open(SAMPLES / f"{name}.gz") as packed, path.open("wb") as file:
        while chunk := packed.read(1 << 16):
            if chunk.strip(b"\0"):
                file.write(chunk)
            else:
                file.seek(len(chunk), os.SEEK_CUR)
        file.truncate()
    return path


def snapshot(path: Path) -> tuple[str, int, int, int]:
    """Return what must not change of a piece of evidence: hash, size, time and mode."""
    status = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest, status.st_size, status.st_mtime_ns, status.st_mode


def raw_disk(path: Path, start: bytes, size: int = 8 << 20) -> Path:
    """Make a raw disk that begins with some bytes."""
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)
    return path
