"""Repairs of a machine directory's own files: modes, id_rsa.pub, and the paths in config.json."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from b2dinspect.machine.config import decoded, is_windows, placed, store_folder
from b2dinspect.machine.folder import Machine
from b2dinspect.provisioning.keypair import KeyPair
from b2dinspect.provisioning.repair.backup import FileChange, Patch
from b2dinspect.userdata.private_key import public_line

PRIVATE_MODE = 0o600


def close_key(path: Path) -> FileChange:
    """Return the change that keeps others from reading a private key."""
    status = path.stat()
    mode = status.st_mode & 0o777
    return FileChange(path, True, status.st_size, status.st_size, mode, PRIVATE_MODE, ())


def put_key(pair: KeyPair, folder: Path) -> list[FileChange]:
    """Return the changes that give a machine another key pair."""
    private = whole_file(folder / "id_rsa", pair.private, PRIVATE_MODE)
    return [
        private._replace(new_mode=PRIVATE_MODE),
        whole_file(folder / "id_rsa.pub", pair.public, PRIVATE_MODE),
    ]


def plain_config(machine: Machine, folder: Path) -> FileChange | None:
    """Return the change that writes config.json as UTF-8 without a byte order mark; None when it is none."""
    file = machine.config.file
    if file is None or not machine.config.is_readable:
        return None
    text = decoded(file.data)[0]
    return whole_file(folder / "config.json", text.encode("utf-8", "surrogatepass"), PRIVATE_MODE)


def make_public(machine: Machine, folder: Path) -> FileChange | None:
    """Return the change that writes id_rsa.pub from id_rsa; None when id_rsa cannot be read."""
    private = machine.keys.private
    if private is None or not private.identity:
        return None
    new = public_line(private.file.data) + b"\n"
    return whole_file(folder / "id_rsa.pub", new, PRIVATE_MODE)


def move_paths(machine: Machine, folder: Path, at: Path | None = None) -> FileChange | None:
    """Return the change that makes config.json name ``folder``; None when it cannot be read as JSON.

    Args:
        machine: The machine directory.
        folder: Where it is, or will be.
        at: Where it is until then.
    """
    file = machine.config.file
    if file is None or not machine.config.is_readable:
        return None
    document = placed(json.loads(decoded(file.data)[0]), machine.folder)
    old, new = machine.config.store_path, str(store_folder(folder))
    if old and not is_windows(old):
        document = _moved(document, os.path.join(old, ""), os.path.join(new, ""))  # noqa: PTH118
    driver = document["Driver"]
    if driver.get("SSHKeyPath"):
        driver["SSHKeyPath"] = str(folder / "id_rsa")
    if "StorePath" in driver:
        driver["StorePath"] = new
    text = json.dumps(document, indent=4, ensure_ascii=False)
    return whole_file((at or folder) / "config.json", text.encode("utf-8", "surrogatepass"), PRIVATE_MODE)


def _moved(value: Any, old: str, new: str) -> Any:
    """Return a JSON value in which every path below ``old`` is one below ``new``."""
    if isinstance(value, dict):
        return {name: _moved(one, old, new) for name, one in value.items()}
    if isinstance(value, list):
        return [_moved(one, old, new) for one in value]
    if isinstance(value, str) and value.startswith(old):
        return new + value[len(old) :]
    return value


def whole_file(path: Path, new: bytes, mode: int) -> FileChange:
    """Return the change that gives a small file a new content, and a new file its mode."""
    if not path.exists():
        return FileChange(path, False, 0, len(new), 0, mode, (Patch(0, b"", new),))
    old, old_mode = path.read_bytes(), path.stat().st_mode & 0o777
    patches = () if old == new else (Patch(0, old, new),)
    return FileChange(path, True, len(old), len(new), old_mode, old_mode, patches)
