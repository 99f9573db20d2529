"""``b2dinspect docker``: what container engines left on a disk, in the words of the docker CLI."""

from __future__ import annotations

from b2dinspect.cli.program import Family

FAMILY = Family(
    {
        "ps": "b2dinspect.cli.docker.lists:ps",
        "images": "b2dinspect.cli.docker.lists:images",
        "volumes": "b2dinspect.cli.docker.lists:volumes",
        "inspect": "b2dinspect.cli.docker.inspect:inspect",
        "history": "b2dinspect.cli.docker.history:history",
        "logs": "b2dinspect.cli.docker.logs:logs",
        "diff": "b2dinspect.cli.docker.diff:diff",
        "cp": "b2dinspect.cli.docker.copying:cp",
        "export": "b2dinspect.cli.docker.copying:export",
        "volume": "b2dinspect.cli.docker.copying:volume",
        "save": "b2dinspect.cli.docker.copying:save",
        "rescue": "b2dinspect.cli.docker.rescue:rescue",
    },
    """Read the containers, images, volumes and logs on a disk: Docker's, containerd's and Podman's.

    Nothing is started and nothing mounted; no Docker is needed. Example: b2dinspect docker ps disk.vmdk
    """,
)
