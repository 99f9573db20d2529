"""Containers, images, volumes and logs on a terminal, in the columns of the docker CLI, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from b2dinspect.docker.facts import (
    ContainerState,
    Contents,
    DockerContainer,
    DockerImage,
    DockerVolume,
    Layer,
)
from b2dinspect.findings import Finding
from b2dinspect.records import NamedTuple
from b2dinspect.render import json
from b2dinspect.render.text import as_text, moment, size, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

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


class Sheet(NamedTuple):
    """A table as text, still to be escaped: what it is of ("" where that is plain), heads, rows."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def drawn(sheets: Sequence[Sheet]) -> Iterator[RenderableType]:
    """Yield tables for a terminal: what has no room in its column is folded there."""
    from b2dinspect.render.terminal import Line, Table  # slow to import, and a pipe needs none of it

    for sheet in sheets:
        if sheet.title:
            yield Line(sheet.title, style="dim")
        table = Table.grid(padding=(0, 2))
        for head in sheet.heads:
            table.add_column(justify="left", overflow="fold", no_wrap=head not in FOLDED)
        table.add_row(*(Line(head, style="bold") for head in sheet.heads))
        for row in sheet.rows:
            table.add_row(*row)
        yield table


def plain(sheets: Sequence[Sheet]) -> Iterator[str]:
    """Yield the same as lines for a pipe, escaped, as wide as they are."""
    from rich.cells import cell_len

    for sheet in sheets:
        if sheet.title:
            yield visible(sheet.title)
        rows = [[visible(cell) for cell in row] for row in (sheet.heads, *sheet.rows)]
        widths = [max(map(cell_len, column)) for column in zip_longest(*rows, fillvalue="")]
        for row in rows:
            padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=False))
            yield "  ".join(padded).rstrip(" ")


def containers(found: Sequence[Contents], sizes: Sizes, *, is_whole: bool) -> list[Sheet]:
    """Return the table of ``docker ps``, one for each data-root that has something."""
    heads = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS"]
    heads += ["MOUNTS", "NAMES"] if is_whole else ["NAMES"]
    heads += ["SIZE"] if sizes else []
    return _titled(
        heads,
        [(one, [_container_row(item, sizes, is_whole) for item in one.containers]) for one in found],
    )


def _container_row(container: DockerContainer, sizes: Sizes, is_whole: bool) -> list[str]:
    mounts = ",".join(mount.name or mount.source for mount in container.mounts)
    state = status(container.state)
    return [
        container.id if is_whole else container.id[:SHORT],
        container.image or container.image_id[:SHORT],
        _command(container, is_whole),
        _time(container.created) if is_whole else container.created[:DAY],
        state if is_whole else state.partition(", ")[0],
        *([mounts] if is_whole else []),
        container.name,
        *([_size(sizes.get(container.id))] if sizes else []),
    ]


def images(found: Sequence[Contents], with_steps: bool, *, is_whole: bool) -> list[Sheet]:
    """Return the table of ``docker images``, one for each data-root that has something."""
    return _titled(
        ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"],
        [
            (
                one,
                [
                    row
                    for image in one.images
                    if with_steps or not image.is_intermediate
                    for row in _image_rows(image, is_whole)
                ],
            )
            for one in found
        ],
    )


def _image_rows(image: DockerImage, is_whole: bool) -> Iterator[list[str]]:
    identity = f"sha256:{image.id}" if is_whole else image.id[:SHORT]
    all_bytes = "" if image.size is None else size(image.size)
    for name, tag in _names(image):
        yield [name, tag, identity, _time(image.created), all_bytes]


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


def volumes(found: Sequence[Contents], usages: Mapping[bytes, Usage | None]) -> list[Sheet]:
    """Return the table of ``docker volume ls``, with what the files tell."""
    return _titled(
        ["DRIVER", "VOLUME NAME", "SIZE", "LAST WRITE", "USED BY"],
        [(one, [_volume_row(volume, usages.get(volume.path)) for volume in one.volumes]) for one in found],
    )


def _volume_row(volume: DockerVolume, used: Usage | None) -> list[str]:
    written = "" if used is None or used.written is None else moment(used.written)
    return [volume.driver, volume.name, _size(used), written, ",".join(volume.used_by)]


def history(image: DockerImage, *, is_whole: bool) -> list[Sheet]:
    """Return the table of ``docker history``."""
    rows = []
    for step in image.history:
        identity = f"sha256:{step.image_id}" if is_whole else step.image_id[:SHORT]
        by = step.created_by.replace("\t", " ")
        rows.append(
            [
                identity if step.image_id else "<missing>",
                _time(step.created),
                by if is_whole else _cut(by, 45),
                "" if step.size is None else size(step.size),
                step.comment,
            ]
        )
    return [Sheet("", ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], rows)]


def _titled(heads: Sequence[str], found: Sequence[tuple[Contents, list[list[str]]]]) -> list[Sheet]:
    """Return a sheet for each data-root that has rows, or one without; several have titles."""
    kept = [one for one in found if one[1]] or [*found[:1]]
    if len(kept) == 1:
        return [Sheet("", heads, kept[0][1])]
    titles = [f"{one.root.engine}: {as_text(one.root.path) or '/'}" for one, _ in kept]
    return [Sheet(title, heads, rows) for title, (_, rows) in zip(titles, kept, strict=True)]


def status(state: ContainerState) -> str:
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
    program, words = container.command[:1], container.command[1:]
    text = " ".join((*program, *(f"'{word}'" if " " in word else word for word in words)))
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
