"""config.json: what docker-machine and minikube know of a machine.

Source: libmachine/host (ConfigVersion 0 to 3, and how each is migrated to the next) and libmachine/drivers
(BaseDriver). Up to version 1 ``StorePath`` is the machine's own directory, at the top; in version 2 it is
nowhere in the driver; in version 3 ``Driver.StorePath`` is the store in which ``machines/NAME`` lies.
"""

from __future__ import annotations

import ntpath
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from b2dinspect.findings import Finding
from b2dinspect.machine.files import SmallFile, about, read_small
from b2dinspect.records import NamedTuple

NAME = "config.json"
MAX_SIZE = 1 << 20
NEWEST = 3
MIB = 1 << 20
STORE = "@STORE@"
"""Stands in the config.json of a packed machine for the store that the machine will be unpacked into."""
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class Config(NamedTuple):
    """What config.json says; "" and None for what it does not.

    Attributes:
        file: The file; None when there is none.
        version: ConfigVersion.
        driver: DriverName.
        name: Driver.MachineName.
        ip: Driver.IPAddress.
        user: Driver.SSHUser.
        port: Driver.SSHPort.
        key_path: Driver.SSHKeyPath as written; empty is normal.
        store_path: The store, as written: of ``machines/NAME``.
        disk_size: Driver.DiskSize, in bytes.
        iso_url: Driver.Boot2DockerURL.
        certificates: Where the certificates are, by field, as written.
        is_readable: Whether all of it is JSON of the expected shape.
        findings: What is wrong with it.
    """

    file: SmallFile | None
    version: int | None = None
    driver: str = ""
    name: str = ""
    ip: str = ""
    user: str = ""
    port: int | None = None
    key_path: str = ""
    store_path: str = ""
    disk_size: int | None = None
    iso_url: str = ""
    certificates: tuple[tuple[str, str], ...] = ()
    is_readable: bool = False
    findings: tuple[Finding, ...] = ()

    def key_candidates(self) -> Iterator[str]:
        """Yield where libmachine looks for the private key: SSHKeyPath, else below the store."""
        if self.key_path:
            yield self.key_path
        elif self.store_path and self.name:
            yield join(self.store_path, "machines", self.name, "id_rsa")


def is_windows(path: str) -> bool:
    """Tell whether a path is one of Windows."""
    return bool(_WINDOWS.match(path))


def join(base: str, *parts: str) -> str:
    """Join paths of the system that ``base`` is from."""
    return ntpath.join(base, *parts) if is_windows(base) else os.path.join(base, *parts)  # noqa: PTH118


def read_config(folder: Path) -> Config:
    """Return what config.json of a machine directory says; never raises."""
    file = read_small(folder / NAME, MAX_SIZE)
    if file is None:
        text = "there is no config.json: docker-machine and minikube do not know this machine"
        return Config(None, findings=(about("config-missing", "error", text, folder / NAME),))
    if file.error:
        return _broken(file, f"config.json cannot be read: {file.error}")
    return parse_config(file)


def parse_config(file: SmallFile) -> Config:
    """Return what a config.json says."""
    import json

    try:
        text, encoding = decoded(file.data)
        document = json.loads(text)
    except UnicodeDecodeError as error:
        return _broken(file, f"config.json is no UTF-8 text: {error.reason}", error.start)
    except json.JSONDecodeError as error:
        if not text.strip():
            return _broken(
                file, f"config.json is empty ({file.size} bytes), as when the host's disk is full", 0
            )
        is_cut = error.pos >= len(text.rstrip()) or "Unterminated" in error.msg
        what = "ends too early: it was cut, as when the host's disk is full" if is_cut else "is no JSON"
        offset = len(text[: error.pos].encode("utf-8", "replace"))
        why = error.msg.removesuffix(" starting at")
        return _broken(file, f"config.json {what} ({why})", offset)
    except (ValueError, RecursionError) as error:
        return _broken(file, f"config.json is no JSON: {type(error).__name__}")
    if not isinstance(document, dict):
        return _broken(file, f"config.json holds no object but {type(document).__name__}", 0)
    return _read(file, placed(document, file.path.parent) if STORE in text else document, encoding)


def placed(value: Any, folder: Path) -> Any:
    """Return a JSON value with the place of a machine directory that was unpacked by hand."""
    if isinstance(value, dict):
        return {name: placed(one, folder) for name, one in value.items()}
    if isinstance(value, list):
        return [placed(one, folder) for one in value]
    if isinstance(value, str) and value.startswith(STORE):
        there = folder.absolute()
        own = join(STORE, "machines", there.name)
        if value == own or value.startswith(f"{own}/"):
            return f"{there}{value[len(own) :]}"
        return f"{store_folder(there)}{value[len(STORE) :]}"
    return value


def store_folder(folder: Path) -> Path:
    """Return the store of a machine directory, which is ``STORE/machines/NAME``, or beside others in one."""
    return folder.parent.parent if folder.parent.name == "machines" else folder.parent


def decoded(data: bytes) -> tuple[str, str]:
    """Return the text and its encoding; editors on Windows write a byte order mark, or UTF-16."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding), encoding
    return data.decode(), ""


def _broken(file: SmallFile, text: str, offset: int | None = None) -> Config:
    return Config(file, findings=(about("config-broken", "error", text, file.path, offset),))


def _read(file: SmallFile, document: dict[str, Any], encoding: str) -> Config:
    fields = _Fields(document)
    driver = _Fields(fields.get("Driver", dict, {}), "Driver.", fields.wrong)
    options = _Fields(fields.get("HostOptions", dict, {}), "HostOptions.", fields.wrong)
    auth = _Fields(options.get("AuthOptions", dict, {}), "HostOptions.AuthOptions.", fields.wrong)
    version = fields.get("ConfigVersion", int, 0)
    size = driver.get("DiskSize", int, None)
    own = fields.get("StorePath", str, "")
    store = driver.get("StorePath", str, "")
    if not store and own:
        store = join(own, "..", "..")
    holder = auth.values or document
    paths = [(name, value) for name, value in holder.items() if _is_certificate(name, value)]
    findings = _oddities(file, version, encoding, fields.wrong, driver)
    return Config(
        file,
        version,
        fields.get("DriverName", str, "") or "",
        driver.get("MachineName", str, "") or fields.get("Name", str, ""),
        driver.get("IPAddress", str, ""),
        driver.get("SSHUser", str, ""),
        driver.get("SSHPort", int, None),
        driver.get("SSHKeyPath", str, ""),
        store,
        size * MIB if size is not None and 0 < size < 1 << 40 else None,
        driver.get("Boot2DockerURL", str, ""),
        tuple(paths),
        not fields.wrong and bool(driver.values),
        tuple(findings),
    )


class _Fields:
    """An object of the document, whose fields may be missing or of the wrong type."""

    def __init__(self, values: dict[str, Any], prefix: str = "", wrong: list[str] | None = None) -> None:
        self.values = values
        self.wrong: list[str] = [] if wrong is None else wrong
        self._prefix = prefix

    def get(self, name: str, kind: type, default: Any) -> Any:
        """Return a field; of another type, it is noted as wrong. Go writes null for what is not there."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or isinstance(value, bool):
            self.wrong.append(f"{self._prefix}{name}")
            return default
        return value


def _is_certificate(name: str, value: object) -> bool:
    return name.endswith(("CertPath", "KeyPath")) and "Remote" not in name and isinstance(value, str)


def _oddities(
    file: SmallFile, version: int, encoding: str, wrong: list[str], driver: _Fields
) -> Iterator[Finding]:
    if encoding:
        text = f"config.json begins with a byte order mark ({encoding}): docker-machine cannot read it"
        yield about("config-encoding", "error", text, file.path, 0)
    if version > NEWEST:
        text = f"config.json has version {version}: docker-machine refuses any above {NEWEST}"
        yield about("config-version", "error", text, file.path)
    if wrong:
        text = f"config.json has fields of the wrong type: {', '.join(wrong[:5])}"
        yield about("config-broken", "error", text, file.path)
    elif not driver.values:
        yield about("config-broken", "error", "config.json says nothing of a driver", file.path)
