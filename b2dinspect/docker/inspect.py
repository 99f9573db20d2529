"""Containers, images and volumes in the shape that ``docker inspect`` gives them.

Source: Docker Engine API v1.41, ContainerInspect, ImageInspect and VolumeInspect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from b2dinspect.docker.contents import container_named, image_named, volume_named
from b2dinspect.docker.facts import Contents, DockerContainer, DockerImage, DockerVolume, Mount
from b2dinspect.docker.values import mapping, sequence
from b2dinspect.errors import UsageError
from b2dinspect.findings import Finding
from b2dinspect.records import NamedTuple


class Inspected(NamedTuple):
    """A document, and what could not be read for it."""

    document: dict[str, Any]
    problems: tuple[Finding, ...]


def inspected(found: Sequence[Contents], name: str, kind: str | None = None) -> Inspected:
    """Return what a name means: a container, else an image, else a volume, or only what ``kind`` says.

    Raises:
        UsageError: It means nothing, or several things; it names the nearest.
    """
    kinds: Mapping[str, Callable[[], Inspected]] = {
        "container": lambda: container(container_named(found, name)[1]),
        "image": lambda: image(image_named(found, name)[1]),
        "volume": lambda: volume(volume_named(found, name)[1]),
    }
    errors = []
    for one in (kind,) if kind else kinds:
        try:
            return kinds[one]()
        except UsageError as error:
            errors.append(error)
    raise next((error for error in errors if "did you mean" in str(error)), errors[0])


def container(found: DockerContainer) -> Inspected:
    """Return a container as ContainerInspect has it."""
    config = found.config
    state = {key: value for key, value in mapping(config.get("State")).items() if value is not None}
    state.pop("RemovalInProgress", None)
    document = {
        "Id": found.id,
        "Created": found.created,
        "Path": config.get("Path", ""),
        "Args": config.get("Args"),
        "State": {"Status": found.state.status, **state},
        "Image": config.get("Image", ""),
        "ResolvConfPath": config.get("ResolvConfPath", ""),
        "HostnamePath": config.get("HostnamePath", ""),
        "HostsPath": config.get("HostsPath", ""),
        "LogPath": config.get("LogPath", ""),
        "Name": f"/{found.name}",
        "RestartCount": config.get("RestartCount", 0),
        "Driver": found.driver,
        "Platform": config.get("OS", "linux"),
        "MountLabel": config.get("MountLabel", ""),
        "ProcessLabel": config.get("ProcessLabel", ""),
        "AppArmorProfile": config.get("AppArmorProfile", ""),
        "ExecIDs": None,
        "HostConfig": found.host_config,
        "Mounts": [
            _mount(one, mapping(config.get("MountPoints")).get(one.destination)) for one in found.mounts
        ],
        "Config": config.get("Config"),
        "NetworkSettings": _networks(mapping(config.get("NetworkSettings"))),
    }
    return Inspected(document, found.problems)


def _mount(found: Mount, point: Any) -> dict[str, Any]:
    known = mapping(point)
    name = {"Name": found.name} if found.name else {}
    driver = {"Driver": found.driver} if found.driver else {}
    return {
        "Type": found.type,
        **name,
        "Source": found.source,
        "Destination": found.destination,
        **driver,
        "Mode": known.get("Relabel") or known.get("Mode") or "",
        "RW": found.is_writable,
        "Propagation": known.get("Propagation", ""),
    }


def _networks(found: Mapping[str, Any]) -> dict[str, Any]:
    networks = {
        name: {key: value for key, value in mapping(one).items() if key != "IPAMOperational"}
        for name, one in mapping(found.get("Networks")).items()
    }
    return {"Ports": mapping(found.get("Ports")), "Networks": networks}


def image(found: DockerImage) -> Inspected:
    """Return an image as ImageInspect has it."""
    config = found.config
    document = {
        "Id": f"sha256:{found.id}",
        "RepoTags": [*found.tags],
        "RepoDigests": [*found.digests],
        "Parent": f"sha256:{found.parent}" if found.parent else "",
        "Comment": config.get("comment", ""),
        "Created": found.created,
        "Container": config.get("container", ""),
        "ContainerConfig": config.get("container_config"),
        "DockerVersion": config.get("docker_version", ""),
        "Author": config.get("author", ""),
        "Config": config.get("config"),
        "Architecture": config.get("architecture", ""),
        "Os": config.get("os", ""),
        "Size": found.size,
        "RootFS": {"Type": "layers", "Layers": sequence(mapping(config.get("rootfs")).get("diff_ids"))},
    }
    return Inspected(document, found.problems)


def volume(found: DockerVolume) -> Inspected:
    """Return a volume as VolumeInspect has it."""
    created = None
    if found.created is not None:
        try:
            created = f"{datetime.fromtimestamp(found.created, UTC):%Y-%m-%dT%H:%M:%SZ}"
        except (ValueError, OverflowError, OSError):
            created = f"@{found.created}"
    document = {
        "CreatedAt": created,
        "Driver": found.driver,
        "Labels": dict(found.labels) or None,
        "Mountpoint": found.mountpoint,
        "Name": found.name,
        "Options": dict(found.options) or None,
        "Scope": "local",
    }
    return Inspected(document, found.problems)
