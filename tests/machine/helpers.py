"""Machine directories made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from b2dinspect.provisioning.samples.incidents import practice_key


def machine(folder: Path, config: dict[str, Any] | bytes | None = None, *, keys: bool = True) -> Path:
    """Make a machine directory: config.json as given, and a key pair."""
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        data = config if isinstance(config, bytes) else json.dumps(config, indent=4).encode()
        (folder / "config.json").write_bytes(data)
    if keys:
        pair = practice_key(1)
        (folder / "id_rsa").write_bytes(pair.private)
        (folder / "id_rsa").chmod(0o600)
        (folder / "id_rsa.pub").write_bytes(pair.public)
    return folder


def config_of(folder: Path, driver: str = "virtualbox", **more: Any) -> dict[str, Any]:
    """Return a config.json of version 3 as docker-machine 0.16 writes it."""
    store = folder.parent.parent
    certificates = {
        "CertDir": str(store / "certs"),
        "CaCertPath": str(store / "certs" / "ca.pem"),
        "ServerCertPath": str(folder / "server.pem"),
        "ServerCertRemotePath": "",
        "StorePath": str(folder),
    }
    return {
        "ConfigVersion": 3,
        "Driver": {
            "IPAddress": "192.168.99.100",
            "MachineName": folder.name,
            "SSHUser": "docker",
            "SSHPort": 49153,
            "SSHKeyPath": str(folder / "id_rsa"),
            "StorePath": str(store),
            "SwarmMaster": False,
            "DiskSize": 20000,
            "Boot2DockerURL": "",
            **more,
        },
        "DriverName": driver,
        "HostOptions": {"Driver": "", "Memory": 0, "AuthOptions": certificates},
        "Name": folder.name,
    }
