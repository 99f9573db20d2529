"""Where container engines keep their data.

boot2docker, minikube and any Linux in ``/var/lib``; Docker Desktop's virtual machine mounts its disk at
``/var/lib`` itself (Docker.raw, Docker.qcow2, DockerDesktop.vhdx), or keeps it in ``/data`` (its disks for
WSL: ext4.vhdx, docker_data.vhdx), and before that in ``/version-pack-data``.
"""

PLACES = (
    b"/var/lib/docker",
    b"/docker",
    b"/data/docker",
    b"/lib/docker",
    b"/version-pack-data/community/docker",
    b"/var/snap/docker/common/var-lib-docker",
    b"/var/lib/containerd",
    b"/containerd",
    b"/data/containerd",
    b"/var/lib/containers/storage",
    b"/containers/storage",
    b"",  # the whole filesystem
)
"""Paths in the filesystem, ``/`` for all of it as "": the usual ones first."""
