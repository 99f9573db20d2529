"""What a rescue kept: the README that says how each thing is put back, and the manifest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from b2dinspect.docker.facts import DockerContainer, DockerVolume
from b2dinspect.docker.recreate import create_words, network_of
from b2dinspect.docker.rescue import EMPTY, EMPTY_SIZE, IMAGES, Rescued, RescuedPart
from b2dinspect.render import json
from b2dinspect.render.shell import System, command_line, this_system
from b2dinspect.render.text import as_text, size, typed, visible

HELPER, HELPER_IMAGE = "b2d-put-back", "b2d-rescue:empty"
PLACE = "/to"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]+")
"""What Docker takes as a name."""
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
MAX_LISTED = 20


def readme(path: str, rescued: Rescued, system: System | None = None) -> str:
    """Return the README of a rescue, in Markdown.

    Args:
        path: The image that all came from.
        rescued: What was kept.
        system: Whose shell the commands are for; None for this system's.
    """
    return "".join(f"{line}\n" for line in _lines(path, rescued, system or this_system()))


def _lines(path: str, rescued: Rescued, system: System) -> Iterator[str]:
    yield "# What was on the disk, and how to put it back"
    yield ""
    shell = " in PowerShell" if system == "windows" else ""
    yield f"From {_code(path)}. The commands are typed{shell} in this folder, in order, where Docker runs."
    yield "`manifest.json` has the size and the SHA-256 of each file, and all that is missing."
    yield from _missing(rescued)
    if rescued.saved:
        yield from _images(rescued, system)
    kept = [(volume, one) for volume, one in rescued.volumes if one.path]
    if kept:
        yield from ("", "## Volumes", "")
        yield "Once, an empty image, by whose container the files go into their volumes:"
        yield from _block(command_line(("docker", "import", EMPTY, HELPER_IMAGE), system))
        for volume, one in kept:
            yield from _volume(volume, one, system)
    containers = [(container, one) for container, one in rescued.containers if one.path]
    if containers:
        yield from _containers(containers, _references(rescued), system)


def _references(rescued: Rescued) -> dict[str, tuple[str, ...]]:
    """Return by what names images go once they are loaded, by the ids that they had."""
    return {one.image.id: (*one.image.tags, f"sha256:{one.id}") for one in rescued.saved}


def _reference(container: DockerContainer, known: dict[str, tuple[str, ...]]) -> str:
    """Return what to call a container's image: as the user did, if that still names it."""
    names = known.get(container.image_id, ())
    if not names or container.image in names or f"{container.image}:latest" in names:
        return container.image or f"sha256:{container.image_id}"
    return names[0]


def _missing(rescued: Rescued) -> Iterator[str]:
    faults = [one for one in rescued.kept if one.problems]
    if not faults and not rescued.problems:
        return
    yield from ("", "## Missing or damaged", "")
    for one in faults:
        what = f"{one.kind} {one.name}" if one.path else f"{one.kind} {one.name}: nothing could be kept"
        yield f"- {_text(what)}"
        yield from (f"  - {_text(problem)}" for problem in one.problems[:MAX_LISTED])
        if len(one.problems) > MAX_LISTED:
            yield f"  - and {len(one.problems) - MAX_LISTED} more: see manifest.json"
    yield from (f"- {_text(problem)}" for problem in rescued.problems[:MAX_LISTED])


def _images(rescued: Rescued, system: System) -> Iterator[str]:
    yield from ("", "## Images", "")
    for one in rescued.saved:
        name = ", ".join(one.image.tags) or one.image.id[:12]
        note = "" if one.id == one.image.id else f" (its id becomes {one.id[:12]})"
        yield f"- {_code(name)}{note}"
    yield from _block(command_line(("docker", "load", "-i", IMAGES), system))


def _volume(volume: DockerVolume, kept: RescuedPart, system: System) -> Iterator[str]:
    name = _name(volume.name, kept)
    used = f", used by {', '.join(volume.used_by)}" if volume.used_by else ""
    yield from ("", f"### {_code(volume.name)}", "", f"{size(kept.size)}{_text(used)}")
    pairs = ["=".join(pair) for pair in volume.labels.items()]
    labels = [word for pair in pairs if typed(pair) == pair for word in ("--label", pair)]
    yield from _block(
        command_line(("docker", "volume", "create", *labels, name), system),
        command_line(
            ("docker", "create", "--name", HELPER, "-v", f"{name}:{PLACE}", HELPER_IMAGE, "x"), system
        ),
        _fed(("docker", "cp", "-", f"{HELPER}:{PLACE}"), kept.path, system),
        command_line(("docker", "rm", HELPER), system),
    )


def _containers(
    containers: list[tuple[DockerContainer, RescuedPart]], images: dict[str, tuple[str, ...]], system: System
) -> Iterator[str]:
    yield from ("", "## Containers", "")
    yield "Each is made again as it was and gets its own changes; `docker start NAME` then starts it."
    yield "The `.json` beside each tar is what `docker inspect` says of it."
    networks = sorted({network for container, _ in containers if (network := network_of(container))})
    if networks:
        yield from ("", "Their networks:")
        yield from _block(*(command_line(("docker", "network", "create", one), system) for one in networks))
    for project in sorted({container.labels.get(PROJECT, "") for container, _ in containers}):
        if project:
            yield from ("", f"### Compose project {_code(project)}", "")
            yield "With its compose file, `docker compose up` makes them, too; the volumes above suffice."
        for container, kept in containers:
            if container.labels.get(PROJECT, "") == project:
                yield from _container(container, kept, _reference(container, images), system)


def _container(container: DockerContainer, kept: RescuedPart, image: str, system: System) -> Iterator[str]:
    name = _name(container.name, kept)
    yield from ("", f"#### {_code(container.name)}")
    words = create_words(container, image, name)
    if any(typed(word) != word for word in words):
        yield "A word of its command has what cannot be typed, as a line break: take it from the `.json`."
    elif system == "windows" and any('"' in word for word in words):
        yield "A word of its command has double quotes, of which not every PowerShell passes on all: take it"
        yield "from the `.json`."
    else:
        is_fixed = "--read-only" in words[: words.index(image)]
        has_changes = kept.size > EMPTY_SIZE
        fed = [_fed(("docker", "cp", "-", f"{name}:/"), kept.path, system)] if has_changes else []
        yield from _block(command_line(words, system), *([] if is_fixed else fed))
        if fed and is_fixed:
            yield f"Its files are read-only: what {_code(kept.path)} has of them cannot be put back into it."
    for mount in container.mounts:
        if mount.type == "bind":
            source, inside = _code(mount.source), _code(mount.destination)
            yield f"{source}, a folder of the machine or its host, was mounted at {inside}: it is not here."
    if kept.deleted:
        many = "s" * (len(kept.deleted) != 1)
        yield f"It had deleted {len(kept.deleted)} path{many} of its image, which manifest.json lists."


def _name(name: str, kept: RescuedPart) -> str:
    """Return a name that Docker takes: what was on the disk may be none."""
    return name if NAME.fullmatch(name) else kept.path.rpartition("/")[2].removesuffix(".tar").lstrip("_.-")


def _fed(words: tuple[str, ...], file: str, system: System) -> str:
    """Return a command that reads a file of ours, as both shells of Windows and all others take it."""
    if system == "windows":
        return f'cmd /c "{command_line(words, system)} < {file.replace("/", chr(92))}"'
    return f"{command_line(words, system)} < {command_line((file,), system)}"


def _block(*commands: str) -> Iterator[str]:
    yield from ("", "```sh", *map(typed, commands), "```", "")


def _code(text: str) -> str:
    return f"`{_text(text).replace('`', '_')}`"


def _text(text: str) -> str:
    """Return text from a disk as it may stand in Markdown."""
    return re.sub(r"([<>&\[\]*])", r"\\\1", visible(text))


def manifest(path: str, rescued: Rescued) -> dict[str, Any]:
    """Return the document of ``docker rescue --json``, which ``manifest.json`` is, too."""
    names = {one.path: container for container, one in rescued.containers}
    return {
        "path": path,
        "files": [
            {
                "kind": one.kind,
                "name": one.name,
                "path": one.path or None,
                "size": one.size,
                "sha256": one.sha256 or None,
                "is_complete": bool(one.path) and not one.problems,
                "problems": list(one.problems),
                "deleted": [json.text(gone) for gone in one.deleted],
                "compose": _compose(names.get(one.path)),
            }
            for one in rescued.kept
        ],
        "images": [
            {
                "id": one.image.id,
                "tags": list(one.image.tags),
                "loads_as": one.id,
                "is_same": one.id == one.image.id,
            }
            for one in rescued.saved
        ],
        "problems": list(rescued.problems),
    }


def _compose(container: DockerContainer | None) -> dict[str, str] | None:
    if container is None or PROJECT not in container.labels:
        return None
    return {"project": container.labels[PROJECT], "service": container.labels.get(SERVICE, "")}


def summary(rescued: Rescued, folder: str) -> list[str]:
    """Return what was kept, in a few lines."""
    volumes = [one for _, one in rescued.volumes]
    containers = [one for _, one in rescued.containers]
    parts = (
        (volumes, "volume"),
        (containers, "container"),
    )
    lines = []
    for found, what in parts:
        kept = sum(bool(one.path) for one in found)
        damaged = sum(bool(one.problems) for one in found)
        note = f", {damaged} damaged or missing" if damaged else ""
        many = "s" * (len(found) != 1)
        lines.append(f"{kept} of {len(found)} {what}{many}{note}, {size(sum(one.size for one in found))}")
    lines.append(f"{len(rescued.saved)} image{'s' * (len(rescued.saved) != 1)}")
    return [*lines, as_text(f"How to put them back: {folder}/README.md".encode())]
