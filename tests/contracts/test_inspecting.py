"""What inspects imports no writer, as loaded modules; and messages of the library name no option."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import b2dinspect
from b2dinspect.cli.main import COMMANDS
from b2dinspect.provisioning.keypair import SAMPLE_KEYS
from tests.cli.helpers import SAMPLES, USERDATA_PATH, environment, unpacked
from tests.oracles import PATIENCE

PACKAGE = Path(b2dinspect.__file__).parent
ROOT = PACKAGE.parent

INSPECTING = (
    *("evidence", "partitions", "filesystems", "userdata", "machine", "inspection", "docker", "views"),
    *("doctor", "search", "audit"),
)


def modules() -> list[str]:
    """Return every module of the package, by its dotted name."""
    found = (path.relative_to(ROOT).with_suffix("") for path in PACKAGE.rglob("*.py"))
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in found)


WRITERS = {
    name
    for name in modules()
    if name.endswith((".writer", ".writers", ".writing", "b2dinspect.newfile"))
    or (name.startswith("b2dinspect.provisioning") and name != "b2dinspect.provisioning")
}
EVENTS = "b2dinspect.provisioning.events"


def loaded(code: str, *arguments: object) -> set[str]:
    """Return the modules that are loaded once a fresh Python has run ``code``."""
    code += "\nimport sys\nsys.__stderr__.write('\\0' + ' '.join(sys.modules))"
    words = [sys.executable, "-c", code, *(str(one) for one in arguments)]
    done = subprocess.run(
        words, capture_output=True, env=environment(), cwd=ROOT, timeout=PATIENCE, check=False
    )
    assert b"\0" in done.stderr, done.stderr.decode()
    return set(done.stderr.rpartition(b"\0")[2].decode().split())


def test_there_are_writers_to_look_for() -> None:
    assert {"b2dinspect.newfile", "b2dinspect.containers.vdi.writer"} <= WRITERS
    assert WRITERS & loaded("import b2dinspect.provisioning.disk.images")


@pytest.mark.parametrize("room", INSPECTING)
@pytest.mark.slow(but=4)
def test_what_inspects_imports_no_writer(room: str) -> None:
    names = [name for name in modules() if name.startswith(f"b2dinspect.{room}") and ".writing" not in name]
    assert names
    found = loaded("\n".join(f"import {name}" for name in names))
    assert set(names) <= found
    assert not WRITERS & found


RUN = """
import json, sys
from b2dinspect.cli.main import run
loaded = {}
for words in json.loads(sys.argv[1]):
    sys.argv = ["b2dinspect", *words]
    try:
        run()
    except SystemExit:
        pass
    loaded[words[0]] = list(sys.modules)
print("\\0" + json.dumps(loaded))
"""
IMAGE = "provisioned-autoformat.vdi"
WORDS: dict[str, tuple[object, ...]] = {
    "show": ("--headers", "IMAGE"),
    "doctor": ("IMAGE",),
    "explain": ("key-mismatch",),
    "machines": (SAMPLES,),
    "keys": ("IMAGE",),
    "diff": ("IMAGE", SAMPLE_KEYS / "owner.pub"),
    "ls": ("IMAGE", "/"),
    "cat": ("IMAGE", USERDATA_PATH),
    "get": ("IMAGE", USERDATA_PATH, "OUT"),
    "hexdump": ("IMAGE",),
    "map": ("IMAGE",),
    "report": ("IMAGE",),
    "tui": ("--help",),
    "logs": ("IMAGE",),
    "docker": ("ps", "CONTAINERS"),
    "choice": ("IMAGE",),
    "verify": ("IMAGE",),
    "search": ("IMAGE",),
    "audit": ("--help",),
    "query": ("IMAGE", "state"),
}
SAVES = {"get": {"b2dinspect.newfile"}}
"""A command may make new files of what it found, on the examiner's side."""


def test_every_command_is_run_below() -> None:
    assert set(COMMANDS) == set(WORDS)


@pytest.fixture(scope="module")
def loaded_by(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Return what is loaded after each command of one fresh Python, those last that may load a writer."""
    places = {
        "IMAGE": str(unpacked(IMAGE)),
        "CONTAINERS": str(unpacked("containers.vdi")),
        "OUT": str(tmp_path_factory.mktemp("saved") / "out"),
    }
    order = sorted(WORDS, key=lambda name: name in SAVES)
    words = [[name, *(places.get(str(word), str(word)) for word in WORDS[name])] for name in order]
    command = [sys.executable, "-c", RUN, json.dumps(words)]
    done = subprocess.run(
        command, capture_output=True, env=environment(), cwd=ROOT, timeout=PATIENCE, check=True
    )
    return {name: set(found) for name, found in json.loads(done.stdout.rpartition(b"\0")[2]).items()}


@pytest.mark.parametrize("name", WORDS)
def test_a_command_that_inspects_loads_no_writer(name: str, loaded_by: dict[str, set[str]]) -> None:
    found = loaded_by[name]
    assert f"b2dinspect.cli.{name}" in found or name in ("explain", "machines")
    assert WRITERS & found <= SAVES.get(name, set()) | {EVENTS}


# --- a command loads nothing slow that it does not use -----------------------------------------------------

DRAWING = ("rich",)
CODE = """
import sys
from b2dinspect.cli.main import run
try:
    run()
except SystemExit:
    pass
"""
QUICK: dict[tuple[str, ...], tuple[str, ...]] = {
    ("--help",): (*DRAWING, "construct", "b2dinspect.cli.show", "b2dinspect.evidence"),
    ("show", "--help"): (*DRAWING, "cryptography"),
    ("show", "--json", "IMAGE"): (*DRAWING, "cryptography", "b2dinspect.views", "b2dinspect.evidence.vbox"),
    ("keys", "IMAGE"): (*DRAWING, "cryptography", "json"),
    ("cat", "IMAGE", USERDATA_PATH): (*DRAWING, "cryptography", "json"),
    ("show", "IMAGE"): ("rich.progress", "rich.markdown", "cryptography", "json"),
    ("doctor", "MACHINE"): ("rich.progress", "rich.markdown", "cryptography", "tarfile"),
}


@pytest.mark.no_cover  # measuring loads modules of its own
@pytest.mark.parametrize("words", QUICK, ids=" ".join)
def test_a_command_loads_nothing_slow_that_it_does_not_use(words: tuple[str, ...], tmp_path: Path) -> None:
    image = unpacked(IMAGE)
    (tmp_path / "id_rsa").write_bytes((SAMPLE_KEYS / "practice-1").read_bytes())
    settings = {"ConfigVersion": 3, "DriverName": "none", "Driver": {}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "disk.vdi").symlink_to(image)
    places = {"IMAGE": image, "MACHINE": tmp_path}
    found = loaded(CODE, *(places.get(word, word) for word in words))
    assert "typer" in found
    assert not {name for name in QUICK[words] if name in found}


# --- only the command line knows its options --------------------------------------------------------------

FLAG = re.compile(r"(?<![\w-])--[a-z]")
PROGRAM = re.compile(
    r"\b(b2dinspect|b2dprovision|VBoxManage|docker-machine|docker|minikube|qemu-img|ssh|fdisk|blockdev|parted|mount)\b"
)
ARGUMENT = re.compile(r"--[a-z][a-z0-9-]*(=\S*)?")
STYLE = re.compile(r"var\(--|--[a-z]+:")


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every string of a module but its docstrings, an f-string as one, with the line it is in."""
    tree = ast.parse(path.read_text())
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(node.value)
        if isinstance(node, ast.JoinedStr):
            skipped |= {one for one in node.values if isinstance(one, ast.Constant)}
            parts = (one.value if isinstance(one, ast.Constant) else "X" for one in node.values)
            yield node.lineno, "".join(str(part) for part in parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped:
            yield node.lineno, node.value


def names_an_option(text: str) -> bool:
    """Tell whether a text names an option, other than in a whole command, in another program's or in CSS."""
    flag = FLAG.search(text)
    if flag is None or ARGUMENT.fullmatch(text.strip()) or STYLE.search(text):
        return False
    before = text[: flag.start()]
    return not PROGRAM.search(before) and before.strip() != "X"  # X stands for a whole command


@pytest.mark.slow
def test_only_the_command_line_knows_its_options() -> None:
    """Errors name arguments (``B2dError.naming``); the command line adds how one gives them."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if "cli" not in path.parts
        for line, text in texts(path)
        if names_an_option(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it exists; say --force to replace it", True),
        ("leave out --in-place", True),
        ("b2dprovision build NEW --key KEY", False),
        ("VBoxManage convertfromraw stdin --format VMDK", False),
        ("--format=VMDK", False),
        ("a -- b", False),
        ("color: var(--ink)", False),
    ],
)
def test_what_names_an_option(text: str, expected: bool) -> None:
    assert names_an_option(text) is expected


def test_each_argument_that_an_error_names_has_an_option() -> None:
    from b2dinspect.cli.common import OPTIONS

    sources = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    named = set(re.findall(r'\.naming\("(\w+)"\)', sources))
    assert {"force", "partition"} <= named <= set(OPTIONS)
    assert all(FLAG.search(text) for text in OPTIONS.values())
