"""``b2dinspect docker ps``, ``images`` and ``volumes``."""

from __future__ import annotations

from typing import Annotated

import typer

from b2dinspect.cli.common import AllowChain, Format, Image, Json, command, rules
from b2dinspect.cli.docker.common import DataRoot, NoTrunc, end, opened, problems_of, show
from b2dinspect.render import docker as render


@command
def ps(
    image: Image,
    size: Annotated[
        bool, typer.Option("--size", "-s", help="Add the bytes of what each container changed or added.")
    ] = False,
    no_trunc: NoTrunc = False,
    as_json: Json = False,
    data_root: DataRoot = None,
    format_name: Format = None,
    folders: AllowChain = None,
) -> None:
    """List all containers, newest first: id, image, command, created, status, name.

    Example: b2dinspect docker ps disk.vmdk

    With --no-trunc the times and what is mounted, too; --json has all that is known.

    Exit status: 0 all read, 1 something could not be read, 2 there is nothing of an engine.
    """
    from b2dinspect.docker.usage import container_usage

    with opened(image, data_root, format_name, rules(folders)) as found:
        there = [(one.root, container) for one in found for container in one.containers if size]
        sizes = {container.id: container_usage(root, container) for root, container in there}
    problems = problems_of(found)
    if as_json:
        from b2dinspect.render import json

        print(json.dumps(render.containers_json(image, found, sizes, problems)))  # noqa: T201
    else:
        show(render.containers(found, sizes, is_whole=no_trunc))
    end(problems, as_json)


@command
def images(
    image: Image,
    all_images: Annotated[
        bool, typer.Option("--all", "-a", help="Also images that are only a step of another.")
    ] = False,
    no_trunc: NoTrunc = False,
    as_json: Json = False,
    data_root: DataRoot = None,
    format_name: Format = None,
    folders: AllowChain = None,
) -> None:
    """List images, newest first: repository, tag, id, created, size of all layers.

    Example: b2dinspect docker images disk.vmdk

    Exit status: 0 all read, 1 something could not be read, 2 there is nothing of an engine.
    """
    with opened(image, data_root, format_name, rules(folders)) as found:
        problems = problems_of(found)
    if as_json:
        from b2dinspect.render import json

        print(json.dumps(render.images_json(image, found, all_images, problems)))  # noqa: T201
    else:
        show(render.images(found, all_images, is_whole=no_trunc))
    end(problems, as_json)


@command
def volumes(
    image: Image,
    as_json: Json = False,
    data_root: DataRoot = None,
    format_name: Format = None,
    folders: AllowChain = None,
) -> None:
    """List volumes: driver, name, bytes of its files, last write, and the containers that mount it.

    Example: b2dinspect docker volumes disk.vmdk

    Exit status: 0 all read, 1 something could not be read, 2 there is nothing of an engine.
    """
    from b2dinspect.docker.usage import volume_usage

    with opened(image, data_root, format_name, rules(folders)) as found:
        usages = {volume.path: volume_usage(one.root, volume) for one in found for volume in one.volumes}
    problems = problems_of(found)
    if as_json:
        from b2dinspect.render import json

        print(json.dumps(render.volumes_json(image, found, usages, problems)))  # noqa: T201
    else:
        show(render.volumes(found, usages))
    end(problems, as_json)
