"""A Docker daemon of the tests' own: no network, a data-root in a folder, and a client that talks to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

from tests.oracles import PATH, PATIENCE

DEBIANS_CLIENT = "/usr/bin/docker"
"""Another one may stand before it in PATH."""


class CannotRunError(Exception):
    """dockerd does not run on this machine, and why."""


class Daemon:
    """A running dockerd. A context manager; it ends with its containers.

    Args:
        folder: For its socket and state; short, for a socket's path has 107 bytes at most.
        data_root: Where it keeps its data.
        driver: Its storage driver.
        log: File that its own words are appended to.

    Raises:
        CannotRunError: It is not installed, or does not come up.
    """

    def __init__(self, folder: Path, data_root: Path, driver: str, log: Path) -> None:
        for program in ("dockerd", "docker"):
            if not shutil.which(program, path=PATH):
                raise CannotRunError(f"not installed: {program}")
        if os.geteuid():
            raise CannotRunError("dockerd needs root")
        self._socket = f"unix://{folder}/d.sock"
        self._log = log
        words = ["dockerd", "--data-root", data_root, "-H", self._socket, "--exec-root", folder / "exec"]
        words += [
            "--pidfile",
            folder / "pid",
            "--iptables=false",
            "--bridge=none",
            "--storage-driver",
            driver,
        ]
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [os.fspath(word) for word in words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "PATH": PATH},
            )
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + 30
        while subprocess.run(self._command("version"), capture_output=True, env=self._environment).returncode:
            if self._process.poll() is not None or time.monotonic() > end:
                self._process.kill()
                self._process.wait()
                last = self._log.read_text("utf-8", "replace").strip().splitlines()[-1:]
                raise CannotRunError(f"dockerd does not come up: {' '.join(last)}")
            time.sleep(0.05)

    def _command(self, *words: object) -> list[str]:
        client = DEBIANS_CLIENT if Path(DEBIANS_CLIENT).exists() else "docker"
        return [client, "-H", self._socket, *(str(word) for word in words)]

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": PATH, "DOCKER_BUILDKIT": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    def run(self, *words: object, is_checked: bool = True, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """Run the client."""
        done = subprocess.run(
            self._command(*words), capture_output=True, env=self._environment, timeout=PATIENCE, **more
        )
        if is_checked and done.returncode:
            raise AssertionError(f"docker {' '.join(map(str, words))}: {done.stderr.decode()}")
        return done

    def type(self, script: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
        """Run what somebody types in a folder, with this daemon as the one that ``docker`` means."""
        (folder / "bin").mkdir(exist_ok=True)
        client = DEBIANS_CLIENT if Path(DEBIANS_CLIENT).exists() else shutil.which("docker", path=PATH)
        if not (folder / "bin/docker").exists():
            (folder / "bin/docker").symlink_to(str(client))
        environment = {
            **self._environment,
            "DOCKER_HOST": self._socket,
            "PATH": f"{folder}/bin{os.pathsep}{PATH}",
        }
        return subprocess.run(
            ["sh", "-e", "-c", script], cwd=folder, capture_output=True, env=environment, timeout=PATIENCE
        )

    def lines(self, *words: object) -> list[str]:
        """Return what the client prints, by lines."""
        return self.run(*words).stdout.decode().splitlines()

    def objects(self, *words: object) -> list[Any]:
        """Return what the client prints with ``--format {{json .}}``."""
        return [json.loads(line) for line in self.lines(*words, "--format", "{{json .}}")]

    def close(self) -> None:
        """Stop it as a system that shuts down does."""
        self._process.terminate()
        try:
            self._process.wait(60)
        finally:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
