"""``python docs/reference.py`` writes the generated pages of the site: commands, findings, formats, Python.

They come from the programs' own help, the doctor's explanations, the Construct declarations and the
docstrings: none of them can say something else than the code.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from construct import Array, Construct, Renamed, Struct

from b2dinspect import notebook
from b2dinspect.cli.main import app
from b2dinspect.cli.provision.main import app as companion
from b2dinspect.containers.qcow2 import layout as qcow2
from b2dinspect.containers.vdi import layout as vdi
from b2dinspect.containers.vhd import layout as vhd
from b2dinspect.containers.vhdx import layout as vhdx
from b2dinspect.containers.vmdk import layout as vmdk
from b2dinspect.doctor.explanations import ALL_LINKS, Explanation, explanations
from b2dinspect.filesystems import superblock, swap
from b2dinspect.partitions import gpt, mbr
from b2dinspect.render.doctor import by_system
from b2dinspect.userdata import tarball

HERE = Path(__file__).parent / "site" / "reference"
STRUCTURES = (
    ("VDI", (("pre-header", vdi.PREHEADER), ("header 1.1", vdi.HEADER_1_1_PLUS))),
    (
        "VMDK",
        (("header of a sparse extent", vmdk.HEADER), ("marker of a streamOptimized extent", vmdk.MARKER)),
    ),
    ("VHD", (("footer", vhd.FOOTER), ("dynamic disk header", vhd.DYNAMIC_HEADER))),
    ("VHDX", (("header", vhdx.HEADER), ("region table", vhdx.REGION_TABLE), ("region", vhdx.REGION_ENTRY))),
    ("qcow2", (("header, version 3", qcow2.HEADER_3_PLUS), ("snapshot", qcow2.SNAPSHOT))),
    ("MBR", (("sector 0", mbr.MBR),)),
    ("GPT", (("header", gpt.HEADER), ("entry", gpt.ENTRY))),
    ("ext4", (("superblock", superblock.SUPERBLOCK),)),
    ("swap", (("header", swap.HEADER),)),
    ("tar", (("header", tarball.HEADER),)),
)
SYMPTOMS = (
    "`permissions 0644 for '…/id_rsa' are too open`, or only `Error getting ssh command 'exit 0'`",
    "`open /old/path/id_rsa: no such file or directory`",
    "`unexpected end of JSON input`",
    "`docker@…'s password:`, or `handshake failed … attempted methods [none publickey]`",
    "there is no `id_rsa.pub`",
    "it booted, still asks for a password, and forgets everything at the next boot",
    "`/` is a tmpfs, no space is left, and it asks for a password",
    "it worked once, and asks for a password since the restart (VMware)",
    "other data is mounted, or `unable to find a partition with the appropriate label`",
    "`VERR_VD_VMDK_INVALID_HEADER`, or an inconsistency between grain table and backup grain table",
    "`UUID … does not match the value … stored in the media registry`",
    "the machine does not start after `create` was interrupted",
    "a big disk was asked for, and `df` shows a small one",
    "there are several keys, or large ones, and some or all cannot log in",
    "errors on a busy ext4",
    "one of these, and the disk is healthy",
    "disk.vmdk looks like that of long ago",
)
"""What people see, by the row that an explanation names."""
API = (
    *("open", "diff", "diagnose", "provision", "incident"),
    *("Disk", "Bytes", "Map", "Answer", "Difference", "Stages"),
)


def findings() -> str:
    """Return the page of findings."""
    parts = [
        "# Findings\n",
        "What `show` and `doctor` can find, in the order of the chain from the host's key to the login,",
        "and of the second one, to a Docker client.",
        "An id with `*` stands for a family.\n",
    ]
    for link in ALL_LINKS:
        parts.append(f"## {link}\n")
        parts += [_finding(item) for item in explanations() if item.link == link]
    return "\n".join(parts)


def _finding(item: Explanation) -> str:
    row = f" (row {item.row})" if item.row else ""
    anchor = f'<a id="{_anchor(item)}"></a>\n'
    lines = [anchor, f"### `{item.id}`: {item.title}{row}\n", f"{item.why}\n", f"- Fix: {item.fix}"]
    for systems, commands in by_system(item):
        where = f"On {systems}" if systems else "Type"
        lines += [f"- {where}: `{command}`" for command in commands]
    if item.end:
        lines.append(f"- Then: {item.end}")
    lines.append(f"- Sure: {item.sure}\n")
    return "\n".join(lines)


def what_goes_wrong() -> str:
    """Return the page that leads from what one sees to what it can be."""
    lines = [
        "# What goes wrong\n",
        "What people with a dead machine see, as dozens of threads tell it, and what can be behind it. Which",
        "of it, `b2dinspect doctor NAME` tells.\n",
        "| row | what you see | what it can be |",
        "|---|---|---|",
    ]
    for row, symptom in enumerate(SYMPTOMS, 1):
        found = [item for item in explanations() if item.row == row]
        links = [f"[{item.title}](findings.md#{_anchor(item)})" for item in found]
        causes = "; ".join(links) or "the network, the hypervisor, or a driver without a disk: not the disk"
        lines.append(f"| {row} | {symptom} | {causes} |")
    lines += [
        "\nA Docker client that is refused (`x509: certificate has expired`, `signed by unknown authority`,",
        "`certificate is valid for …, not …`) stands before the second door:",
        "[its findings](findings.md), and [how it works](../how-it-works.md#the-second-door).",
    ]
    return "\n".join(lines) + "\n"


def _anchor(item: Explanation) -> str:
    return item.id.replace("*", "family")


def commands() -> str:
    """Return the page of commands."""
    parts = ["# Commands\n"]
    for name, program in (("b2dinspect", app), ("b2dprovision", companion)):
        group: Any = typer.main.get_command(program)
        parts.append(f"## {name}\n\n{inspect.cleandoc(group.help)}\n")
        parts += [part for found in group.commands.values() for part in _commands(name, found)]
    return "\n".join(parts)


def _commands(program: str, found: Any) -> Iterator[str]:
    """Yield a command, or what a family of them is for and each of it."""
    if not hasattr(found, "commands"):
        yield _command(program, found)
        return
    yield f"### {program} {found.name}\n\n{inspect.cleandoc(found.help)}\n"
    yield from (_command(f"{program} {found.name}", one) for one in found.commands.values())


def _command(program: str, found: Any) -> str:
    arguments = [one for one in found.params if one.param_type_name == "argument"]
    words = " ".join(one.make_metavar(None) for one in arguments)
    lines = [f"### {program} {found.name}\n", f"    {program} {found.name} [OPTIONS] {words}\n"]
    lines.append(f"{inspect.cleandoc(found.help)}\n")
    for one in found.params:
        if one.name == "help":
            continue
        name = one.make_metavar(None) if one in arguments else ", ".join(one.opts + one.secondary_opts)
        lines.append(f"- `{name}`: {one.help or ''}")
    return "\n".join(lines) + "\n"


def formats() -> str:
    """Return the page of formats."""
    parts = ["# Formats\n", "Every structure as it is declared: offsets and sizes in bytes.\n"]
    for name, structures in STRUCTURES:
        parts.append(f"## {name}\n")
        for title, layout in structures:
            parts += [f"### {name} {title}\n", "| offset | size | field | meaning |", "|---|---|---|---|"]
            parts += [f"| {at:#x} | {size} | `{field}` | {doc} |" for at, size, field, doc in _rows(layout)]
            parts.append("")
    return "\n".join(parts)


def _rows(layout: Construct, at: int = 0, prefix: str = "") -> Iterator[tuple[int, int, str, str]]:
    for part in layout.subcons:
        inner, docs = part, ""
        while isinstance(inner, Renamed):
            docs = docs or inner.docs
            inner = inner.subcon
        name = f"{prefix}{part.name}"
        if isinstance(inner, Struct):
            yield from _rows(inner, at, f"{name}.")
        else:
            count = f"[{inner.count}]" if isinstance(inner, Array) else ""
            yield at, part.sizeof(), f"{name}{count}", docs.replace("|", "/")
        at += part.sizeof()


def python() -> str:
    """Return the page about the Python API."""
    parts = ["# Python\n", "`import b2dinspect as b2d`\n"]
    for name in API:
        found = getattr(notebook, name)
        if inspect.isclass(found):
            parts += [f"## {name}\n", f"{_text(found)}\n"]
            parts += [
                _member(member, one) for member, one in vars(found).items() if not member.startswith("_")
            ]
        else:
            signature = str(inspect.signature(found)).replace("'", "")
            parts += [f"## b2d.{name}\n", f"    b2d.{name}{signature}\n", f"{_text(found)}\n"]
    return "\n".join(parts)


def _member(name: str, found: Any) -> str:
    is_property = isinstance(found, property)
    call = "" if is_property else "()"
    return f"- `.{name}{call}`: {(inspect.getdoc(found) or '').splitlines()[0]}\n"


def _text(found: Any) -> str:
    """Return a docstring's first paragraphs as text, and its sections as they are."""
    lines = inspect.cleandoc(found.__doc__).splitlines()
    heads = (i for i, line in enumerate(lines) if line.endswith(":") and not line.startswith(" "))
    end = next(heads, len(lines))
    rest = "\n".join(f"    {line}".rstrip() for line in lines[end:])
    head = "\n".join(lines[:end]).strip()
    return f"{head}\n\n{rest}" if rest else head


PAGES = {
    "findings": findings,
    "what-goes-wrong": what_goes_wrong,
    "commands": commands,
    "formats": formats,
    "python": python,
}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (HERE / f"{page}.md").write_text(write(), encoding="utf-8")
