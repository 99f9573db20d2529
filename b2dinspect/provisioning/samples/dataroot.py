"""A data-root as Docker 17.06 left it on a boot2docker disk: aufs, one image, two containers, two volumes.

Every file is there by the layout that ``b2dinspect.docker`` documents; identities are hashes of names, so
that it is the same bytes every time.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Mapping
from typing import Any

from b2dinspect.docker.bolt import LEAF, MAGIC, VERSION, checksum
from b2dinspect.docker.layers import chain_ids
from b2dinspect.identity import PINNED_TIME
from b2dinspect.provisioning.disk.ext4 import Placed
from b2dinspect.records import NamedTuple

ROOT = "var/lib/docker"
GUEST_ROOT = "/mnt/sda1/var/lib/docker"
"""What the guest calls it."""
DRIVER = "aufs"
BUILT, MADE, STARTED, ENDED = (f"2018-03-0{day}T08:30:00.{day}00000000Z" for day in range(1, 5))
NEVER = "0001-01-01T00:00:00Z"
PAGE = 4096

BASE: Mapping[str, bytes] = {
    "etc/os-release": b"NAME=sample\n",
    "srv/index.html": b"<h1>It works</h1>\n",
    "srv/old.html": b"<h1>Old</h1>\n",
}
TOP: Mapping[str, bytes] = {"srv/.wh.old.html": b"", "srv/index.html": b"<h1>The shop</h1>\n"}
STEPS = ("/bin/sh -c #(nop) ADD file:base in / ", "/bin/sh -c rm /srv/old.html && /bin/make-page")
ORDERS = b"1,tea,2\n2,cups,4\n3,kettle,1\n"


class _Layer(NamedTuple):
    """A layer: its files, its name in the driver's store, and the tar that it came in."""

    files: Mapping[str, bytes]
    name: str
    tar: bytes

    @property
    def diff_id(self) -> str:
        return f"sha256:{hashlib.sha256(self.tar).hexdigest()}"


def data_root(*, log: bytes = b"") -> tuple[Placed, ...]:
    """Return the files of the data-root, and the daemon's log.

    Args:
        log: More lines of the daemon's log, behind those of the version that made it.
    """
    layers = [_Layer(files, _id(name), _tar(files)) for name, files in (("base", BASE), ("top", TOP))]
    config = _image(layers)
    image = hashlib.sha256(config).hexdigest()
    volumes = {"shop_orders": {"orders.csv": ORDERS}, _id("anonymous"): {"cache": b"warm\n"}}
    found: dict[str, bytes] = {}
    found |= _layer_files(layers)
    place = f"image/{DRIVER}"
    found[f"{place}/imagedb/content/sha256/{image}"] = config
    names = {"shop/web": {"shop/web:1.0": f"sha256:{image}"}}
    found[f"{place}/repositories.json"] = _json({"Repositories": names})
    top = chain_ids([layer.diff_id for layer in layers])[-1]
    for container in (_web(image), _db(image)):
        found |= _container_files(container, f"sha256:{top}", layers)
    for name, files in volumes.items():
        found |= {f"volumes/{name}/_data/{file}": content for file, content in files.items()}
    found["volumes/metadata.db"] = _volumes_database(list(volumes))
    own = "var/lib/boot2docker"
    started = daemon_line("17.06.0-ce", DRIVER, "2018-03-01T08:00:00.000000000Z")
    return (
        *(Placed(f"{ROOT}/{path}", content) for path, content in sorted(found.items())),
        Placed(f"{own}/log/docker.log", started + log),
    )


def folders_of(files: tuple[Placed, ...]) -> tuple[str, ...]:
    """Return the directories that files need, parents first."""
    found: dict[str, None] = {}
    for file in files:
        parts = file.path.split("/")[:-1]
        found |= {"/".join(parts[: depth + 1]): None for depth in range(len(parts))}
    return tuple(found)


def daemon_line(version: str, driver: str, time: str) -> bytes:
    """Return the line with which a daemon begins its log."""
    told = f'msg="Docker daemon" commit=sample graphdriver(s)={driver} version={version}'
    return f'time="{time}" level=info {told}\n'.encode()


def _id(name: str) -> str:
    return hashlib.sha256(f"sample {name}".encode()).hexdigest()


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _tar(files: Mapping[str, bytes]) -> bytes:
    """Return a layer's tar, as it was pulled: directories, then files, all root's."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), PINNED_TIME, 0o644
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _tar_split(layer: _Layer) -> bytes:
    """Return what Docker keeps of a tar to make it again: the bytes around its files, and their checksums.

    Source: github.com/vbatts/tar-split, tar/storage/entry.go and packer.go.
    """
    entries: list[dict[str, Any]] = []
    at = 0
    with tarfile.open(fileobj=io.BytesIO(layer.tar)) as tar:
        for member in tar:
            around = base64.b64encode(layer.tar[at : member.offset_data]).decode()
            entries.append({"type": 2, "payload": around})
            content = layer.files[member.name]
            payload = base64.b64encode(_crc64(content)).decode() if content else None
            entries.append({"type": 1, "name": member.name, "size": len(content), "payload": payload})
            at = member.offset_data + len(content)
    entries.append({"type": 2, "payload": base64.b64encode(layer.tar[at:]).decode()})
    lines = [_json({**entry, "position": position}) for position, entry in enumerate(entries)]
    return gzip.compress(b"\n".join(lines) + b"\n", mtime=0)


def _crc64(data: bytes) -> bytes:
    """Return a checksum as tar-split has it: CRC-64 of ISO 3309, as Go's hash/crc64 computes it."""
    found = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (0xD800000000000000 if found & 1 else 0)
    return (found ^ 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")


def _image(layers: list[_Layer]) -> bytes:
    history = [{"created": BUILT, "created_by": step} for step in STEPS]
    settings = {"Env": ["PATH=/bin"], "Cmd": ["/bin/serve", "/srv"], "Labels": {"maintainer": "sample"}}
    return _json(
        {
            "architecture": "amd64",
            "config": settings,
            "created": BUILT,
            "docker_version": "17.06.0-ce",
            "history": history,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
    )


def _layer_files(layers: list[_Layer]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    chains = chain_ids([layer.diff_id for layer in layers])
    for number, (layer, chain) in enumerate(zip(layers, chains, strict=True)):
        note = f"image/{DRIVER}/layerdb/sha256/{chain}"
        found[f"{note}/cache-id"] = layer.name.encode()
        found[f"{note}/diff"] = layer.diff_id.encode()
        found[f"{note}/size"] = str(sum(map(len, layer.files.values()))).encode()
        found[f"{note}/tar-split.json.gz"] = _tar_split(layer)
        if number:
            found[f"{note}/parent"] = f"sha256:{chains[number - 1]}".encode()
        found |= {f"{DRIVER}/diff/{layer.name}/{path}": content for path, content in layer.files.items()}
        found[f"{DRIVER}/layers/{layer.name}"] = _parents(layers[:number])
    return found


def _parents(layers: list[_Layer]) -> bytes:
    """Return aufs's list of what is below a layer, nearest first."""
    return "".join(f"{layer.name}\n" for layer in reversed(layers)).encode()


class _Container(NamedTuple):
    """A container: its configuration, what it changed, and what it wrote."""

    config: dict[str, Any]
    own: Mapping[str, bytes]
    log: tuple[tuple[str, str, str], ...]

    @property
    def id(self) -> str:
        return str(self.config["ID"])


def _container(name: str, service: str, image: str, state: dict[str, Any], **more: Any) -> dict[str, Any]:
    identity = _id(name)
    place = f"{GUEST_ROOT}/containers/{identity}"
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": service}
    return {
        "State": state,
        "ID": identity,
        "Created": MADE,
        "Path": "/bin/serve",
        "Args": ["/srv"],
        "Config": {
            "Hostname": identity[:12],
            "Image": "shop/web:1.0",
            "Labels": labels,
            "Env": ["PATH=/bin"],
        },
        "Image": f"sha256:{image}",
        "NetworkSettings": {"Networks": {}},
        "LogPath": f"{place}/{identity}-json.log",
        "Name": f"/{name}",
        "Driver": DRIVER,
        "HostnamePath": f"{place}/hostname",
        **more,
    }


def _volume(name: str, destination: str) -> dict[str, Any]:
    source = f"{GUEST_ROOT}/volumes/{name}/_data"
    return {
        destination: {
            "Source": source,
            "Destination": destination,
            "RW": True,
            "Name": name,
            "Driver": "local",
            "Type": "volume",
        }
    }


def _web(image: str) -> _Container:
    """Return one that ran when the machine was switched off."""
    state = {"Running": True, "Pid": 1234, "ExitCode": 0, "StartedAt": STARTED, "FinishedAt": NEVER}
    mounts = _volume(_id("anonymous"), "/cache")
    config = _container("shop_web_1", "web", image, state, MountPoints=mounts)
    own = {"srv/index.html": b"<h1>The shop, with a new door</h1>\n", "run/serve.pid": b"1\n"}
    log = (("stdout", STARTED, "listening on 80\n"), ("stderr", ENDED, "no such page: /old.html\n"))
    return _Container(config, own, log)


def _db(image: str) -> _Container:
    """Return one that came to its end."""
    state = {"Running": False, "Pid": 0, "ExitCode": 1, "StartedAt": STARTED, "FinishedAt": ENDED}
    config = _container("shop_db_1", "db", image, state, MountPoints=_volume("shop_orders", "/orders"))
    log = (("stdout", STARTED, "3 orders\n"), ("stderr", ENDED, "disk full\n"))
    return _Container(config, {"tmp/.wh.lock": b""}, log)


def _container_files(found: _Container, parent: str, layers: list[_Layer]) -> dict[str, bytes]:
    folder, note = f"containers/{found.id}", f"image/{DRIVER}/layerdb/mounts/{found.id}"
    mount, init = _id(f"mount {found.id}"), f"{_id(f'mount {found.id}')}-init"
    lines = (_json({"log": text, "stream": stream, "time": time}) for stream, time, text in found.log)
    files = {
        f"{folder}/config.v2.json": _json(found.config),
        f"{folder}/hostconfig.json": _json(
            {"LogConfig": {"Type": "json-file", "Config": {}}, "NetworkMode": "shop"}
        ),
        f"{folder}/hostname": f"{found.id[:12]}\n".encode(),
        f"{folder}/{found.id}-json.log": b"\n".join(lines) + b"\n",
        f"{note}/mount-id": mount.encode(),
        f"{note}/init-id": init.encode(),
        f"{note}/parent": parent.encode(),
        f"{DRIVER}/diff/{init}/.dockerenv": b"",
        f"{DRIVER}/layers/{init}": _parents(layers),
        f"{DRIVER}/layers/{mount}": f"{init}\n".encode() + _parents(layers),
        f"{DRIVER}/diff/{mount}/.wh..wh.aufs": b"",
    }
    return files | {f"{DRIVER}/diff/{mount}/{path}": content for path, content in found.own.items()}


def _volumes_database(names: list[str]) -> bytes:
    """Return the volumes' BoltDB: two meta pages, a list of free pages, and one bucket in the root's page."""
    values = {}
    for name in sorted(names):
        labels = {"com.docker.compose.project": "shop"} if name.startswith("shop") else None
        values[name.encode()] = _json({"Name": name, "Driver": "local", "Labels": labels, "Options": None})
    bucket = struct.pack("<QQ", 0, 0) + _leaf(0, values, 0)
    root = _leaf(3, {b"volumes": bucket}, 1)
    metas = (_page(_meta(number)) for number in (0, 1))
    free = _page(struct.pack("<QHHI", 2, 0x10, 0, 0))
    return b"".join((*metas, free, _page(root)))


def _page(content: bytes) -> bytes:
    return content.ljust(PAGE, b"\0")


def _meta(number: int) -> bytes:
    body = struct.pack("<IIIIQQQQQ", MAGIC, VERSION, PAGE, 0, 3, 0, 2, 4, number)
    return struct.pack("<QHHI", number, 0x4, 0, 0) + body + struct.pack("<Q", checksum(body))


def _leaf(number: int, values: Mapping[bytes, bytes], flags: int) -> bytes:
    head = struct.pack("<QHHI", number, LEAF, len(values), 0)
    entries, data, room = b"", b"", 16 * len(values)
    for index, (key, value) in enumerate(values.items()):
        entries += struct.pack("<IIII", flags, room - 16 * index + len(data), len(key), len(value))
        data += key + value
    return head + entries + data
