"""The host's four stages: key pair, userdata tar, disk, machine directory.

Source: libmachine/ssh/keys.go, libmachine/mcnutils/b2d.go, libmachine/host and the drivers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from b2dinspect.containers.writers import new_disk
from b2dinspect.newfile import NewFile
from b2dinspect.newfile.private import keep_private
from b2dinspect.provisioning.disk.images import WorkDisk
from b2dinspect.provisioning.events import Gave, Took
from b2dinspect.provisioning.host.drivers import Driver
from b2dinspect.provisioning.keypair import KeyPair, make_key
from b2dinspect.provisioning.stages import Plan, SkipStage, Stage, State, Step
from b2dinspect.userdata.authorized_keys import parse
from b2dinspect.userdata.tarball import MAGIC, build_userdata

INTERRUPTED_SIZE = 10 << 20
"""Bytes: the fixed.vhd of the hyperv driver, before Convert-VHD and Resize-VHD."""
DISK_STAGE = 3
"""Number of the stage that makes the disk."""
STRANGERS = 6
"""Keys of 381 bytes before the owner's: together more than the 2048 bytes that a guest keeps of them."""


def _key_pair(state: State) -> Step:
    plan = state.plan
    if plan.key is not None:
        yield Took("the given key")
        key = plan.key
    else:
        key = make_key(plan.key_kind)
        text = {"rsa": "id_rsa: RSA 2048, PKCS#1 PEM", "ed25519": "id_rsa: ed25519, OpenSSH"}[plan.key_kind]
        yield Gave(f"{text}, {len(key.private)} bytes")
    for line in parse(key.public):
        if line.key:
            yield Gave(f"{line.type} {line.key.bits} bits, {line.key.sha256}")
    return state._replace(key=key)


def _tar(state: State) -> Step:
    public = state.key.public
    if state.has_fault("truncated-key"):
        public = public[: len(public) // 2]
    if state.has_fault("many-keys"):
        strangers = (make_key("rsa").public for _ in range(STRANGERS))
        public = b"".join(strangers) + public
    yield Took(f"id_rsa.pub, {len(public)} bytes")
    userdata = build_userdata(public)
    if state.has_fault("no-magic"):
        userdata = MAGIC.replace(b"2", b"7", 1).ljust(100, b"\0") + userdata[100:]
    yield Gave(f"tar of {len(userdata)} bytes; its first file name is {userdata[:29].decode()!r}")
    return state._replace(userdata=userdata)


def _disk(state: State) -> Step:
    plan = state.plan
    yield Took(f"the tar, {len(state.userdata)} bytes")
    if state.disk is not None:
        state.disk.pwrite(0, state.userdata)
        return state
    if state.folder is None:
        raise SkipStage("no machine directory")
    path = state.folder / plan.disk_name
    with NewFile(path, mode=0o600) as file:
        disk = WorkDisk(new_disk(plan.format, file, disk_size(plan), plan.ids))
        disk.pwrite(0, state.userdata)
        disk.writer.flush()
        yield from disk.changes()
        yield Gave(f"{path.name}: {plan.format}, {disk.size} bytes, in a file of {file.size}, mostly holes")
    return state._replace(disk_path=path)


def disk_size(plan: Plan) -> int:
    """Return the virtual size in bytes of the disk that the host makes."""
    return INTERRUPTED_SIZE if plan.fault == "interrupted-create" else plan.size


def _machine(state: State) -> Step:
    folder, plan = state.folder, state.plan
    if folder is None:
        raise SkipStage("no machine directory")
    key = make_key("rsa") if state.has_fault("key-regenerated") else state.key
    mode = 0o644 if state.has_fault("key-mode") else 0o600
    final = plan.folder.absolute() / plan.name
    config = json.dumps(_config(plan, plan.driver, final), indent=4).encode()
    if state.has_fault("config-cut"):
        config = config[: len(config) // 3]
    if key.private:
        write_new(folder / "id_rsa", key.private, 0o600)
        (folder / "id_rsa").chmod(mode)
    write_new(folder / "id_rsa.pub", key.public, 0o600)
    write_new(folder / "config.json", config, 0o600)
    for name in sorted(path.name for path in folder.iterdir()):
        yield Gave(f"{mode if name == 'id_rsa' else 0o600:04o} {name}")
    return state._replace(key=KeyPair(key.private, state.key.public))


def _config(plan: Plan, driver: Driver, folder: Path) -> dict[str, Any]:
    """Return config.json as libmachine writes it (ConfigVersion 3), without the parts about TLS."""
    place = Path("/old/place") / plan.name if plan.fault == "key-moved" else folder
    return {
        "ConfigVersion": 3,
        "Driver": {
            "IPAddress": "127.0.0.1",
            "MachineName": plan.name,
            "SSHUser": plan.profile.owner[0],
            "SSHPort": 22,
            "SSHKeyPath": str(place / "id_rsa"),
            "StorePath": str(place.parent.parent),
            "DiskSize": plan.size >> 20,
        },
        "DriverName": driver.name,
        "HostOptions": {"Driver": "", "Memory": 0, "Disk": 0},
        "Name": plan.name,
    }


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a new file that has its mode from the first byte on."""
    with NewFile(path, mode=mode) as file:
        if b"PRIVATE KEY" in data[:64] and not mode & 0o077:
            keep_private(file.temporary)
        file.pwrite(0, data)


def _ssh_keygen(state: State) -> str:
    return "" if state.plan.key else "ssh.GenerateSSHKey(id_rsa)  (libmachine, in Go)"


HOST_STAGES = (
    Stage("key", "host", "Make a key pair for this machine.", _ssh_keygen, _key_pair),
    Stage(
        "tar",
        "host",
        "Pack the public key into a tar that begins with the magic string.",
        lambda state: "mcnutils.MakeDiskImage(id_rsa.pub)  (libmachine, in Go)",
        _tar,
    ),
    Stage(
        "disk",
        "host",
        "Write the tar at byte 0 of a new, empty disk.",
        lambda state: state.plan.driver.commands,
        _disk,
    ),
    Stage(
        "machine",
        "host",
        "Keep key, disk and settings in the machine directory.",
        lambda state: f"machines/{state.plan.name}/config.json  (libmachine/persist, in Go)",
        _machine,
    ),
)
