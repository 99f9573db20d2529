"""One entry for each chore: ``nox -l`` lists them, ``nox -s test`` runs one, ``nox`` those of every change.

They run in the environment that nox itself is in (``pip install -e '.[test]'``): nothing is there twice.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.3.2"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["check", "test"]

PYTHON = sys.executable


def installed(name: str) -> str:
    """Return a program of this environment."""
    return str(Path(sys.executable).with_name(name))


@nox.session
def check(session: nox.Session) -> None:
    """Style, types, and the directions of imports."""
    session.run(installed("ruff"), "check", ".")
    session.run(installed("ruff"), "format", "--check", ".")
    session.run(installed("mypy"))
    session.run(installed("lint-imports"))


@nox.session
def test(session: nox.Session) -> None:
    """All tests but the slow ones; what follows -- goes to pytest."""
    session.run(PYTHON, "-m", "pytest", "-m", "not slow", *session.posargs)


@nox.session(name="test-all")
def test_all(session: nox.Session) -> None:
    """All tests, with coverage."""
    session.run(PYTHON, "-m", "pytest", "--cov", *session.posargs)


@nox.session
def hostile(session: nox.Session) -> None:
    """Five minutes of mutated inputs and of writing calls that fail; a find fails."""
    session.run(PYTHON, "-m", "tests.fuzz", "--seconds", "200", "--seed", "ci", "--turn", "3")
    session.run(PYTHON, "-m", "tests.kill", "--stride", "97")


@nox.session
def bench(session: nox.Session) -> None:
    """Speed and memory, beside programs that do less."""
    session.run(PYTHON, "-m", "benchmarks", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Write the generated pages anew, and build the site in a temporary folder; a warning fails."""
    session.run(PYTHON, "docs/reference.py")
    session.run(PYTHON, "docs/replay.py")
    session.run(PYTHON, "-m", "pip", "install", "-q", "-e", ".[docs]")
    site = tempfile.mkdtemp(prefix="b2dinspect-site-")
    session.run(installed("mkdocs"), "build", "--quiet", "--strict", "-f", "docs/mkdocs.yml", "-d", site)
    session.log(f"{site}/index.html is the site")


@nox.session
def pictures(session: nox.Session) -> None:
    """Draw the pictures of README and ARCHITECTURE anew."""
    session.run(PYTHON, "docs/picture.py")
    session.run(PYTHON, "docs/rooms.py")
