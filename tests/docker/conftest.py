"""The scene, made once a session and storage driver: its disk is shared between all workers."""

from __future__ import annotations

import os

import pytest

from tests.docker.daemon import CannotRunError
from tests.docker.scene import DRIVERS, Scene, scene


@pytest.fixture(scope="session", params=DRIVERS)
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A disk that dockerd filled, with each of its storage drivers."""
    return _scene(tmp_path_factory, request.param)


@pytest.fixture(scope="session")
def overlaid(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The one with overlay2."""
    return _scene(tmp_path_factory, "overlay2")


def _scene(factory: pytest.TempPathFactory, driver: str) -> Scene:
    base = factory.getbasetemp()
    try:
        return scene(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base, driver)
    except CannotRunError as error:
        pytest.skip(str(error))
