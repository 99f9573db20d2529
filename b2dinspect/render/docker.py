"""Containers, images, volumes and logs on a terminal, in the columns of the docker CLI, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from b2dinspect.docker.facts import Contents, DockerContainer, DockerImage, DockerVolume, Layer, State
from b2dinspect.findings import Finding
from b2dinspect.render import json
from b2dinspect.render.terminal import Line, Table
from b2dinspect.render.text import as_text, moment, size

if TYPE_CHECKING:
    from b2dinspect.docker.logs import LogLine
    from b2dinspect.docker.usage import Usage

SHORT = 12
"""Digits of an id, as the docker CLI cuts it."""
DAY = len("2018-03-02")
COMMAND = 20
"""Characters of a command before it is cut."""

FOLDED = ("IMAGE", "COMMAND", "CREATED BY", "REPOSITORY", "VOLUME NAME", "USED BY", "MOUNTS", "COMMENT")
"""Columns that become narrower where there is no room."""

Sizes = Mapping[str, "Usage | None"]


def containers(found: Sequence[Contents], sizes: Sizes, *, is_whole: bool) -> Iterator[RenderableType]:
    """Yield the table of ``docker ps``, one for each data-root that has something."""
    heads = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS"]
    heads += ["MOUNTS", "NAMES"] if is_whole else ["NAMES"]
    for one in _shown(found, [bool(item.containers) for item in found]):
        table = _table([*heads, *(["SIZE"] if sizes else [])])
        for container in one.containers:
            mounts = ",".join(mount.name or mount.source for mount in container.mounts)
            state = status(container.state)
            table.add_row(
                container.id if is_whole else container.id[:SHORT],
                container.image or container.image_id[:SHORT],
                _command(container, is_whole),
                _time(container.created) if is_whole else container.created[:DAY],
                state if is_whole else state.partition(", ")[0],
                *([mounts] if is_whole else []),
                container.name,
                *([_size(sizes.get(container.id))] if sizes else []),
            )
        yield from _headed(one, found, table)


def images(found: Sequence[Contents], with_steps: bool, *, is_whole: bool) -> Iterator[RenderableType]:
    """Yield the table of ``docker images``, one for each data-root that has something."""
    for one in _shown(found, [bool(item.images) for item in found]):
        table = _table(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"])
        for image in one.images:
            if image.is_intermediate and not with_steps:
                continue
            identity = f"sha256:{image.id}" if is_whole else image.id[:SHORT]
            bytes_ = "" if image.size is None else size(image.size)
            for name, tag in _names(image):
                table.add_row(name, tag, identity, _time(image.created), bytes_)
        yield from _headed(one, found, table)


def _names(image: DockerImage) -> Iterator[tuple[str, str]]:
    """Yield repository and tag as ``docker images`` has them, a row each."""
    for tag in image.tags:
        name, _, version = tag.rpartition(":")
        yield name, version
    tagged = {tag.rpartition(":")[0] for tag in image.tags}
    untagged = {name for name in (one.partition("@")[0] for one in image.digests) if name not in tagged}
    for name in sorted(untagged):
        yield name, "<none>"
    if not image.tags and not image.digests:
        yield "<none>", "<none>"


def volumes(found: Sequence[Contents], usages: Mapping[bytes, Usage | None]) -> Iterator[RenderableType]:
    """Yield the table of ``docker volume ls``, with what the files tell."""
    for one in _shown(found, [bool(item.volumes) for item in found]):
        table = _table(["DRIVER", "VOLUME NAME", "SIZE", "LAST WRITE", "USED BY"])
        for volume in one.volumes:
            used = usages.get(volume.path)
            written = "" if used is None or used.written is None else moment(used.written)
            row = (volume.driver, volume.name, _size(used), written, ",".join(volume.used_by))
            table.add_row(*row)
        yield from _headed(one, found, table)


def history(image: DockerImage, *, is_whole: bool) -> Table:
    """Return the table of ``docker history``."""
    table = _table(["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"])
    for step in image.history:
        identity = f"sha256:{step.image_id}" if is_whole else step.image_id[:SHORT]
        by = step.created_by.replace("\t", " ")
        table.add_row(
            identity if step.image_id else "<missing>",
            _time(step.created),
            by if is_whole else _cut(by, 45),
            "" if step.size is None else size(step.size),
            step.comment,
        )
    return table


def _table(heads: Sequence[str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for head in heads:
        table.add_column(justify="left", overflow="fold", no_wrap=head not in FOLDED)
    table.add_row(*(Line(head, style="bold") for head in heads))
    return table


def _shown(found: Sequence[Contents], has_any: Sequence[bool]) -> list[Contents]:
    """Return what has something to show, or the first."""
    return [one for one, has in zip(found, has_any, strict=True) if has] or [*found[:1]]


def _headed(one: Contents, found: Sequence[Contents], table: Table) -> Iterator[RenderableType]:
    if len(found) > 1:
        yield Line(f"{one.root.engine}: {as_text(one.root.path) or '/'}", style="dim")
    yield table


def status(state: State) -> str:
    """Return a state in the words of ``docker ps``, with the time where that says "2 days ago"."""
    since = f", {_time(state.finished)}" if state.finished else ""
    code = "?" if state.exit_code is None else state.exit_code
    return {
        "created": "Created",
        "running": f"Up, since {_time(state.started)}, when last written",
        "paused": "Up (Paused)",
        "restarting": f"Restarting{since}",
        "removing": "Removal In Progress",
        "dead": "Dead",
        "exited": f"Exited ({code}){since}",
    }.get(state.status, "unknown")


def _command(container: DockerContainer, is_whole: bool) -> str:
    """Return a command as the daemon joins its words (moby, container/view.go)."""
    program, *words = container.command
    text = " ".join((program, *(f"'{word}'" if " " in word else word for word in words)))
    return f'"{text if is_whole else _cut(text, COMMAND)}"'


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _time(text: str) -> str:
    """Return a time as the engine wrote it without what nobody reads."""
    date, _, clock = text.partition("T")
    return f"{date} {clock[:8]}Z" if clock.endswith("Z") and len(clock) >= 9 else text


def _size(used: Usage | None) -> str:
    if used is None:
        return ""
    return size(used.size) + ("" if used.is_complete else " or more")


def inspection(documents: Sequence[dict[str, Any]]) -> str:
    """Return documents as ``docker inspect`` prints them: no schema of ours but Docker's."""
    import json as plain

    return plain.dumps(documents, indent=4)


def containers_json(
    path: str, found: Sequence[Contents], sizes: Sizes, problems: Sequence[Finding]
) -> dict[str, Any]:
    """Return the document of ``docker ps --json``."""
    return {
        **_head(path, found),
        "containers": [
            container_json(one, container, sizes.get(container.id))
            for one in found
            for container in one.containers
        ],
        "problems": [json.finding(problem) for problem in problems],
    }


def container_json(one: Contents, found: DockerContainer, used: Usage | None) -> dict[str, Any]:
    """Return one container."""
    return {
        "id": found.id,
        "name": found.name,
        "image": found.image,
        "image_id": found.image_id or None,
        "command": [*found.command],
        "created": found.created or None,
        "state": found.state.status,
        "exit_code": found.state.exit_code,
        "started": found.state.started or None,
        "finished": found.state.finished or None,
        "error": found.state.error or None,
        "labels": dict(found.labels),
        "mounts": [mount._asdict() for mount in found.mounts],
        "log_driver": found.log_driver,
        "driver": found.driver,
        "layers": [_layer(layer) for layer in found.layers],
        "size": used.size if used else None,
        "engine": one.root.engine,
        "data_root": json.text(one.root.path),
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "id": layer.id,
        "path": json.text(layer.path),
        "size": layer.size,
        "diff_id": layer.diff_id or None,
    }


def images_json(
    path: str, found: Sequence[Contents], with_steps: bool, problems: Sequence[Finding]
) -> dict[str, Any]:
    """Return the document of ``docker images --json``."""
    return {
        **_head(path, found),
        "images": [
            image_json(one, image)
            for one in found
            for image in one.images
            if with_steps or not image.is_intermediate
        ],
        "problems": [json.finding(problem) for problem in problems],
    }


def image_json(one: Contents, found: DockerImage) -> dict[str, Any]:
    """Return one image."""
    return {
        "id": found.id,
        "tags": [*found.tags],
        "digests": [*found.digests],
        "created": found.created or None,
        "size": found.size,
        "layers": [_layer(layer) for layer in found.layers],
        "parent": found.parent or None,
        "intermediate": found.is_intermediate,
        "driver": found.driver,
        "engine": one.root.engine,
        "data_root": json.text(one.root.path),
    }


def volumes_json(
    path: str, found: Sequence[Contents], usages: Mapping[bytes, Usage | None], problems: Sequence[Finding]
) -> dict[str, Any]:
    """Return the document of ``docker volumes --json``."""
    return {
        **_head(path, found),
        "volumes": [
            volume_json(one, volume, usages.get(volume.path)) for one in found for volume in one.volumes
        ],
        "problems": [json.finding(problem) for problem in problems],
    }


def volume_json(one: Contents, found: DockerVolume, used: Usage | None) -> dict[str, Any]:
    """Return one volume."""
    return {
        "name": found.name,
        "driver": found.driver,
        "labels": dict(found.labels),
        "options": dict(found.options),
        "mountpoint": found.mountpoint,
        "path": json.text(found.path) or None,
        "created": found.created,
        "size": used.size if used else None,
        "files": used.files if used else None,
        "last_write": used.written if used else None,
        "used_by": [*found.used_by],
        "engine": one.root.engine,
        "data_root": json.text(one.root.path),
    }


def history_json(path: str, image: DockerImage) -> dict[str, Any]:
    """Return the document of ``docker history --json``."""
    return {
        "path": path,
        "id": image.id,
        "tags": [*image.tags],
        "history": [
            {
                "id": step.image_id or None,
                "created": step.created or None,
                "created_by": step.created_by,
                "size": step.size,
                "comment": step.comment,
                "tags": [*step.tags],
            }
            for step in image.history
        ],
        "problems": [json.finding(problem) for problem in image.problems],
    }


def log_json(
    path: str, container: DockerContainer, lines: Sequence[LogLine], problems: Sequence[Finding]
) -> dict[str, Any]:
    """Return the document of ``docker logs --json``."""
    return {
        "path": path,
        "id": container.id,
        "name": container.name,
        "log_driver": container.log_driver,
        "lines": [{"stream": line.stream, "time": line.time, "text": json.text(line.text)} for line in lines],
        "problems": [json.finding(problem) for problem in problems],
    }


def _head(path: str, found: Sequence[Contents]) -> dict[str, Any]:
    return {
        "path": path,
        "data_roots": [
            {
                "engine": one.root.engine,
                "path": json.text(one.root.path) or "/",
                "partition": one.root.volume.partition.number,
                "drivers": [*one.root.drivers],
                "meant_driver": one.root.meant or None,
                "version": one.root.version or None,
            }
            for one in found
        ],
    }
