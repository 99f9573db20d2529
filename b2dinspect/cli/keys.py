"""``b2dinspect keys``: the authorized_keys of a disk, verbatim or as a list with fingerprints."""

from __future__ import annotations

from typing import Annotated

import typer

from b2dinspect.cli.common import (
    FINDINGS,
    AllowChain,
    Format,
    Image,
    Json,
    PreferRedundant,
    command,
    complain,
    examine,
    out,
    rules,
    write_bytes,
)
from b2dinspect.errors import UsageError, UserdataError
from b2dinspect.inspection.facts import FoundKey, Inspection, Userdata
from b2dinspect.inspection.keys import key_file
from b2dinspect.render import console
from b2dinspect.userdata.tarball import AUTHORIZED_KEYS

SOURCES = ("fresh", "data", "residue")


@command
def keys(
    image: Image,
    fingerprints: Annotated[
        bool, typer.Option("--fingerprints", help="List all key lines with fingerprints.")
    ] = False,
    as_json: Json = False,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="SOURCE", help="Only from: fresh, data or residue."),
    ] = None,
    format_name: Format = None,
    folders: AllowChain = None,
    prefer_redundant: PreferRedundant = False,
) -> None:
    """Print the authorized_keys file that decides who may log in, byte for byte.

    Example: b2dinspect keys sample_images/fresh.vdi.gz > authorized_keys

    On a terminal, control characters in it are shown escaped. --fingerprints and --json tell of every key
    line in every place. Exit status: 0 fine, 1 a line that sshd would not accept or a cut
    file, 2 no keys.
    """
    if source is not None and source not in SOURCES:
        raise UsageError(f"--from {source}: it is one of {', '.join(SOURCES)}")
    with examine(image, format_name, rules(folders, prefer_redundant)) as facts:
        chosen, is_cut = [key for key in facts.keys if source in (None, key.source)], False
        if as_json:
            from b2dinspect.render import json

            print(json.dumps({"path": facts.path, "keys": [json.key(key) for key in chosen]}))  # noqa: T201
        elif fingerprints:
            out(console.key_list(chosen))
        else:
            chosen, is_cut = _print_file(facts, source)
    if not chosen:
        raise UserdataError(_nothing(facts, source))
    if is_cut or any(not key.line.valid for key in chosen):
        raise typer.Exit(FINDINGS)


def _print_file(facts: Inspection, source: str | None) -> tuple[list[FoundKey], bool]:
    """Print authorized_keys; return the key lines in it, and whether the guest has it only in part."""
    item, name = _userdata(facts, source), AUTHORIZED_KEYS.decode()
    entry = item.tar.find(AUTHORIZED_KEYS)
    if entry is None:
        raise UserdataError(f"the {item.source} userdata has no {name}")
    if entry.missing:
        complain(f"{name} is cut: {entry.available} of {entry.size} bytes are there")
    kept = item.kept.find(AUTHORIZED_KEYS) if item.kept else entry
    is_cut = kept is None or bool(kept.missing)
    if is_cut and item.kept:
        complain(f"the guest will keep only {kept.available if kept else 0} of these {entry.size} bytes")
    write_bytes(key_file(item, entry))
    return [key for key in facts.keys if (key.source, key.file) == (item.source, name)], is_cut


def _userdata(facts: Inspection, source: str | None) -> Userdata:
    item = facts.effective if source is None else facts.of_source(source)  # type: ignore[arg-type]
    if item is None:
        raise UserdataError(_nothing(facts, source))
    return item


def _nothing(facts: Inspection, source: str | None) -> str:
    there = ", ".join(dict.fromkeys(f"{key.source} {key.file}" for key in facts.keys))
    hint = f"; there are some in {there}: see --fingerprints and --from" if there else ""
    return f"no {source or 'deciding'} key on this disk, which is {facts.state}{hint}"
