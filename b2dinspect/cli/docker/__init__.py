"""``b2dinspect docker``: what container engines left on a disk, in the words of the docker CLI."""

from __future__ import annotations

from b2dinspect.cli.program import Family

FAMILY = Family(
    {
        "ps": (
            "b2dinspect.cli.docker.lists:ps",
            "List all containers, newest first: id, image, command, created, status, name.",
        ),
        "images": (
            "b2dinspect.cli.docker.lists:images",
            "List images, newest first: repository, tag, id, created, size of all layers.",
        ),
        "volumes": (
            "b2dinspect.cli.docker.lists:volumes",
            "List volumes: driver, name, bytes of its files, last write, and the containers that mount it.",
        ),
        "inspect": (
            "b2dinspect.cli.docker.inspect:inspect",
            "Print all that is known of containers, images or volumes, as JSON in the shape of "
            "`docker inspect`.",
        ),
        "history": (
            "b2dinspect.cli.docker.history:history",
            "Show the steps by which an image was made, newest first.",
        ),
        "logs": (
            "b2dinspect.cli.docker.logs:logs",
            "Print what a container wrote, its stdout on stdout and its stderr on stderr, rotated files too.",
        ),
        "diff": (
            "b2dinspect.cli.docker.diff:diff",
            "List what a container added (A), changed (C) and deleted (D) in its image's files.",
        ),
        "cp": (
            "b2dinspect.cli.docker.copying:cp",
            "Copy files out of a container as it sees them: its image, its own changes, its volumes.",
        ),
        "export": (
            "b2dinspect.cli.docker.copying:export",
            "Write all files of a container as a tar, as docker export does it: without its volumes.",
        ),
        "volume": (
            "b2dinspect.cli.docker.copying:volume",
            "Write all files of a volume as a tar, with owners, modes, attributes and links.",
        ),
        "save": (
            "b2dinspect.cli.docker.copying:save",
            "Write images as a tar that docker load takes, under the ids that they have.",
        ),
        "rescue": (
            "b2dinspect.cli.docker.rescue:rescue",
            "Save all volumes, containers' own changes and images into a folder, and say how to put "
            "them back.",
        ),
    },
    """Read the containers, images, volumes and logs on a disk: Docker's, containerd's and Podman's.

    Nothing is started and nothing mounted; no Docker is needed. Example: b2dinspect docker ps disk.vmdk
    """,
)
