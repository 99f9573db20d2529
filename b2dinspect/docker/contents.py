"""Read what a data-root holds, whichever engine wrote it, and tell which container or image a name means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TypeVar

from b2dinspect.docker.facts import Contents, DataRoot, DockerContainer, DockerImage, DockerVolume
from b2dinspect.errors import UsageError

Found = TypeVar("Found")
MIN_PREFIX = 1
"""Digits of an id that name it, if no other begins with them."""


READERS = {"docker": "dockerd", "containerd": "containerd", "podman": "podman"}
"""The module that reads an engine's data-root, imported when there is one."""


def contents(root: DataRoot) -> Contents:
    """Return containers, images and volumes. Never raises for what the data-root holds."""
    found: Contents = import_module(f"b2dinspect.docker.{READERS[root.engine]}").read(root)
    return found


def count(root: DataRoot) -> tuple[int, int, int]:
    """Return how many containers, images with a name, and volumes there are, without a look at each."""
    if root.engine == "docker":
        from b2dinspect.docker import dockerd

        return dockerd.count(root)
    found = contents(root)
    return len(found.containers), sum(1 for image in found.images if image.tags), len(found.volumes)


def container_named(found: Sequence[Contents], name: str) -> tuple[DataRoot, DockerContainer]:
    """Return the container of a name or id, or of the beginning of an id, as the docker CLI takes them.

    Raises:
        UsageError: There is none, or there are several; it names the nearest.
    """
    there = [(one.root, container) for one in found for container in one.containers]
    wanted = name.removeprefix("/")
    return _chosen(
        "container",
        name,
        [pair for pair in there if wanted in (pair[1].name, pair[1].id)],
        [pair for pair in there if _begins(pair[1].id, wanted)],
        [text for _, container in there for text in (container.name, container.id[:12])],
    )


def image_named(found: Sequence[Contents], reference: str) -> tuple[DataRoot, DockerImage]:
    """Return the image of a reference (``name``, ``name:tag``, ``name@digest``) or the beginning of an id.

    Raises:
        UsageError: There is none, or there are several; it names the nearest.
    """
    there = [(one.root, image) for one in found for image in one.images]
    wanted = {reference, f"{reference}:latest"}
    wanted |= {one.removeprefix("docker.io/").removeprefix("library/") for one in wanted}
    identity = reference.removeprefix("sha256:")
    return _chosen(
        "image",
        reference,
        [pair for pair in there if wanted & {*pair[1].tags, *pair[1].digests} or pair[1].id == identity],
        [pair for pair in there if _begins(pair[1].id, identity)],
        [text for _, image in there for text in (*image.tags, image.id[:12])],
    )


def volume_named(found: Sequence[Contents], name: str) -> tuple[DataRoot, DockerVolume]:
    """Return the volume of a name.

    Raises:
        UsageError: There is none, or there are several; it names the nearest.
    """
    there = [(one.root, volume) for one in found for volume in one.volumes]
    exact = [pair for pair in there if pair[1].name == name]
    return _chosen("volume", name, exact, [], [volume.name for _, volume in there])


def _begins(identity: str, digits: str) -> bool:
    return len(digits) >= MIN_PREFIX and identity.startswith(digits)


def _chosen(
    what: str, name: str, exact: Sequence[Found], near: Sequence[Found], names: Iterable[str]
) -> Found:
    """Return the one that a name means.

    Raises:
        UsageError: None is, or several are.
    """
    found = exact or near
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{len(found)} {what}s are called {name}; name one by more of its id")
    from difflib import get_close_matches  # slow to import, and only for a mistake

    known = list(dict.fromkeys(names))
    if nearest := get_close_matches(name, known, 1, 0.5):
        raise UsageError(f"no {what} {name} on this disk; did you mean {nearest[0]}?")
    if known:
        some = ", ".join(known[:6]) + (", …" if len(known) > 6 else "")
        raise UsageError(f"no {what} {name} on this disk; there are {some}")
    raise UsageError(f"no {what} {name} on this disk: it has no {what}s")
