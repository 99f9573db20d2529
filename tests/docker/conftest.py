"""The scene, made once a session and storage driver: its disk is shared between all workers."""

from __future__ import annotations

import os

import pytest

from tests.docker.daemon import CannotRunError
from tests.docker.scene import DRIVERS, Scene, scene


@pytest.fixture(scope="session", params=DRIVERS)
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A disk that dockerd filled, with each of its storage drivers."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    try:
        return scene(shared, request.param)
    except CannotRunError as error:
        pytest.skip(str(error))
