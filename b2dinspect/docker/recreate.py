"""The ``docker create`` that makes a container again, out of what the engine noted of it.

Source: Docker's reference of ``docker create``; Docker Engine API v1.41, ContainerCreate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from b2dinspect.docker.facts import DockerContainer
from b2dinspect.docker.values import mapping, sequence, strings, text, texts

NETWORKS = ("", "default", "bridge", "host", "none")
"""Networks that every engine has; others are to be made first."""

SWITCHES = (("--privileged", "Privileged"), ("--read-only", "ReadonlyRootfs"), ("--init", "Init"))
LISTS = (("--cap-add", "CapAdd"), ("--cap-drop", "CapDrop"), ("--add-host", "ExtraHosts"))


def create_words(container: DockerContainer, image: str, name: str) -> tuple[str, ...]:
    """Return the words that make a container again, not started.

    Args:
        container: What it was.
        image: What it is to be made of.
        name: What it is to be called.
    """
    config = mapping(container.config.get("Config"))
    host = container.host_config or {}
    entrypoint = texts(config.get("Entrypoint"))
    words = ["docker", "create", "--name", name, *_options(container, config, host)]
    if entrypoint:
        words += ["--entrypoint", entrypoint[0]]
    return (*words, image, *entrypoint[1:], *texts(config.get("Cmd")))


def network_of(container: DockerContainer) -> str:
    """Return the network of its own that a container wants; "" for none."""
    mode = text((container.host_config or {}).get("NetworkMode"))
    return "" if mode in NETWORKS or ":" in mode else mode


def _options(container: DockerContainer, config: Any, host: Any) -> Iterator[str]:
    hostname = text(config.get("Hostname"))
    if hostname and not container.id.startswith(hostname):
        yield from ("-h", hostname)
    for name, key in (("-u", "User"), ("-w", "WorkingDir")):
        if text(config.get(key)):
            yield from (name, config[key])
    yield from (name for name, key in (("-t", "Tty"), ("-i", "OpenStdin")) if config.get(key) is True)
    yield from (name for name, key in SWITCHES if host.get(key) is True)
    yield from _mounts(container, host)
    for one in texts(config.get("Env")):
        yield from ("-e", one)
    for label, value in container.labels.items():
        yield from ("-l", f"{label}={value}")
    yield from _ports(host)
    for name, key in LISTS:
        for one in texts(host.get(key)):
            yield from (name, one)
    policy = mapping(host.get("RestartPolicy"))
    if text(policy.get("Name")) not in ("", "no"):
        count = policy.get("MaximumRetryCount")
        yield from ("--restart", f"{policy['Name']}:{count}" if count else policy["Name"])
    mode = text(host.get("NetworkMode"))
    if mode not in ("", "default") and not mode.startswith("container:"):
        yield from ("--network", mode)


def _mounts(container: DockerContainer, host: Any) -> Iterator[str]:
    for mount in container.mounts:
        source = mount.name if mount.type == "volume" else mount.source
        if mount.type in ("volume", "bind") and source:
            yield from ("-v", f"{source}:{mount.destination}{'' if mount.is_writable else ':ro'}")
    for where, options in strings(host.get("Tmpfs")).items():
        yield from ("--tmpfs", f"{where}:{options}" if options else where)


def _ports(host: Any) -> Iterator[str]:
    for inside, bindings in sorted(mapping(host.get("PortBindings")).items()):
        for binding in map(mapping, sequence(bindings)):
            address, port = text(binding.get("HostIp")), text(binding.get("HostPort"))
            where = f"{address}:{port}:" if address else f"{port}:" if port else ""
            yield from ("-p", f"{where}{inside}")
