"""``b2dinspect docker cp``, ``export``, ``volume`` and ``save``: files and images on their way out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path as HostPath
from typing import TYPE_CHECKING, Annotated

import typer

from b2dinspect.cli.common import (
    FINDINGS,
    AllowChain,
    Format,
    Image,
    ProgressBar,
    as_path,
    command,
    complain,
    rules,
)
from b2dinspect.cli.docker.common import DataRoot, opened
from b2dinspect.cli.docker.diff import Container
from b2dinspect.cli.get import Fill, Force, Owners, Said, evidence_of, sink, to_tar, told
from b2dinspect.errors import FilesystemError, UsageError

if TYPE_CHECKING:
    from b2dinspect.docker.facts import Contents, DockerContainer
    from b2dinspect.docker.facts import DataRoot as Root
    from b2dinspect.extraction.members import Member

Output = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="File to write; - for standard output.")
]


@command
def cp(
    image: Image,
    source: Annotated[str, typer.Argument(metavar="NAME:PATH", help="A container, and a path in it.")],
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="File, or directory to copy into; - for a tar on stdout.")
    ],
    owners: Owners = False,
    fill: Fill = False,
    force: Force = False,
    data_root: DataRoot = None,
    format_name: Format = None,
    folders: AllowChain = None,
) -> None:
    """Copy files out of a container as it sees them: its image, its own changes, its volumes.

    Example: b2dinspect docker cp disk.vmdk web:/etc/nginx ./nginx

    As docker cp does it: a directory goes into DEST if that is there, else becomes it; PATH/. copies what is
    in it. A path on a volume is read from the volume. Symbolic links are copied as links, never followed.

    Exit status: 0 all copied, 1 something left out or not whole, 2 nothing copied.
    """
    from b2dinspect.docker.contents import container_named
    from b2dinspect.extraction.host import ExtractionRules, HostTree

    name, colon, path = source.partition(":")
    if not colon:
        raise UsageError(f"{source} names no path: say CONTAINER:PATH")
    said = Said()
    with opened(image, data_root, format_name, rules(folders)) as found, ProgressBar() as progress:
        root, container = container_named(found, name)
        members = _of_container(found, root, container, as_path(path), said)
        first = next(members)
        base = os.fsdecode(path.rstrip("/").rpartition("/")[2])
        is_content = base in ("", ".") or path.endswith("/.")
        if destination == "-":
            prefix = b"" if is_content else os.fsencode(base)
            _tar(_under(prefix, first, members), "-", force, said, fill, progress)
        else:
            target = HostPath(destination)
            if target.is_dir() and not is_content:
                target /= base
            rule = ExtractionRules(force, owners, fill)
            with HostTree(target, said.fault, rule, evidence_of(image), told(progress)) as tree:
                for member in _under(b"", first, members):
                    tree.take(member)
            complain(f"{tree.copied} file{'s' * (tree.copied != 1)}, {tree.size} bytes")
    _end(said)


@command
def export(
    image: Image,
    name: Container,
    output: Output = "-",
    fill: Fill = False,
    force: Force = False,
    data_root: DataRoot = None,
    format_name: Format = None,
    folders: AllowChain = None,
) -> None:
    """Write all files of a container as a tar, as docker export does it: without its volumes.

    Example: b2dinspect docker export disk.vmdk web -o web.tar

    Exit status: 0 all written, 1 something left out or not whole, 2 nothing written.
    """
    from b2dinspect.docker.contents import container_named
    from b2dinspect.docker.merge import MergedLayers

    said = Said()
    with opened(image, data_root, format_name, rules(folders)) as found, ProgressBar() as progress:
        root, container = container_named(found, name)
        if not container.layers:
            raise FilesystemError(f"no layer of {container.name} is on this disk", layer="layers")
        said.problems(container.problems)
        merged = MergedLayers(root.files, container.layers, said.fault)
        _tar(merged.members(merged.root()), output, force, said, fill, progress)
    _end(said)


@command
def volume(
    image: Image,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A volume.")],
    output: Output = "-",
    fill: Fill = False,
    force: Force = False,
    data_root: DataRoot = None,
    format_name: Format = None,
    folders: AllowChain = None,
) -> None:
    """Write all files of a volume as a tar, with owners, modes, attributes and links.

    Example: b2dinspect docker volume disk.vmdk pgdata -o pgdata.tar

    Exit status: 0 all written, 1 something left out or not whole, 2 nothing written.
    """
    from b2dinspect.docker.contents import volume_named
    from b2dinspect.docker.rescue import volume_members

    said = Said()
    with opened(image, data_root, format_name, rules(folders)) as found, ProgressBar() as progress:
        root, chosen = volume_named(found, name)
        members = volume_members(root, chosen, said.fault)
        said.problems(chosen.problems)
        _tar(members, output, force, said, fill, progress, dot=True)
    _end(said)


@command
def save(
    image: Image,
    references: Annotated[
        list[str], typer.Argument(metavar="REF…", help="Images: name, name:tag, or the beginning of an id.")
    ],
    output: Output = "-",
    force: Force = False,
    data_root: DataRoot = None,
    format_name: Format = None,
    folders: AllowChain = None,
) -> None:
    """Write images as a tar that docker load takes, under the ids that they have.

    Example: b2dinspect docker save disk.vmdk nginx:latest -o nginx.tar

    Where the engine did not keep what makes a layer's tar the very same, the image gets another id, and that
    is said.

    Exit status: 0 all written, 1 something is damaged or has another id, 2 nothing written.
    """
    from b2dinspect.docker.contents import image_named
    from b2dinspect.docker.saving import save as save_images

    said = Said()
    with opened(image, data_root, format_name, rules(folders)) as found, sink(output, force) as write:
        named = [image_named(found, reference) for reference in references]
        chosen = {(root.path, one.driver, one.id): (root, one) for root, one in named}
        for _, chosen_image in chosen.values():
            said.problems(chosen_image.problems)
        saved = save_images(write, [*chosen.values()], said.fault)
        if not saved:
            raise FilesystemError("no image can be saved", layer="image")
    is_same = True
    for one in saved:
        if one.id != one.image.id:
            is_same = False
            was = one.image.tags[0] if one.image.tags else one.image.id[:12]
            layers = f"{len(one.changed)} layer{'s' * (len(one.changed) != 1)}"
            complain(f"{was} gets the id {one.id[:12]}: {layers} cannot be made as they were")
    if said.times or not is_same:
        raise typer.Exit(FINDINGS)


def _of_container(
    found: Sequence[Contents], root: Root, container: DockerContainer, path: bytes, said: Said
) -> Iterator[Member]:
    """Return what a container sees at a path and below: of its layers, or of the volume mounted there."""
    from b2dinspect.docker.merge import MergedLayers
    from b2dinspect.docker.rescue import volume_at
    from b2dinspect.extraction.members import walk

    clean = b"".join(b"/" + part for part in path.split(b"/") if part not in (b"", b"."))
    on_volume = volume_at(found, container, clean)
    if on_volume is not None:
        volume_root, chosen, rest = on_volume
        top = volume_root.files.find(chosen.path + b"/" + rest)
        return walk(volume_root.files, top, said.fault)
    for mount in container.mounts:
        inside = mount.destination.encode("utf-8", "surrogateescape")
        if inside.startswith(clean + b"/") or inside == clean:
            complain(f"{mount.destination} was mounted ({mount.type}): only what lies under it is copied")
    said.problems(container.problems)
    merged = MergedLayers(root.files, container.layers, said.fault)
    return merged.members(merged.find(clean))


def _under(prefix: bytes, first: Member, others: Iterator[Member]) -> Iterator[Member]:
    from b2dinspect.extraction.members import join

    yield first._replace(path=prefix)
    for member in others:
        twin = join(prefix, member.twin) if member.twin else b""
        yield member._replace(path=join(prefix, member.path), twin=twin)


def _tar(
    members: Iterator[Member],
    output: str,
    force: bool,
    said: Said,
    fill: bool,
    progress: ProgressBar,
    dot: bool = False,
) -> None:
    from b2dinspect.extraction.tar import Style

    to_tar(members, output, force, said, Style(fill=fill, dot=dot), progress)


def _end(said: Said) -> None:
    if said.times:
        raise typer.Exit(FINDINGS)
