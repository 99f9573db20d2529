"""``b2dinspect keys``: the authorized_keys of a disk, verbatim or as a list with fingerprints."""

from __future__ import annotations

from typing import Annotated

import typer

from b2dinspect.cli.common import (
    FINDINGS,
    Address,
    AllowChain,
    At,
    Format,
    Image,
    Json,
    PreferRedundant,
    command,
    complain,
    examine,
    out,
    rules,
    visit_of,
    write_bytes,
)
from b2dinspect.errors import UsageError, UserdataError
from b2dinspect.inspection.facts import FoundKey, Inspection, Userdata
from b2dinspect.inspection.keys import kept_file, key_file
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
    at: At = None,
    address: Address = None,
    folders: AllowChain = None,
    prefer_redundant: PreferRedundant = False,
) -> None:
    """Print the keys that decide who may log in: authorized_keys byte for byte, as the guest has it.

    Example: b2dinspect keys sample_images/fresh.vdi.gz > authorized_keys

    Lines of authorized_keys2 with other keys follow, as sshd reads both. With --from, authorized_keys of that
    place alone. On a terminal, control characters are shown escaped. --fingerprints and --json tell of every
    key line in every place, and which are in force. A line can expire (expiry-time) or ask from where
    somebody comes (from): it is judged for --at and --address. Exit status: 0 fine, 1 a line that sshd would
    not accept, a cut file, or keys that are not in force, 2 no keys.
    """
    if source is not None and source not in SOURCES:
        raise UsageError(f"--from {source}: it is one of {', '.join(SOURCES)}")
    with examine(image, format_name, rules(folders, prefer_redundant), visit_of(at, address)) as facts:
        chosen, is_cut = [key for key in facts.keys if source in (None, key.source)], False
        if as_json:
            from b2dinspect.render import json

            print(json.dumps({"path": facts.path, "keys": [json.key(key) for key in chosen]}))  # noqa: T201
        elif fingerprints:
            from b2dinspect.render import console

            out(console.key_list(chosen))
        else:
            chosen, is_cut = _print(facts, source)
    if not chosen:
        raise UserdataError(_nothing(facts, source))
    if is_cut or any(not key.line.valid for key in chosen):
        raise typer.Exit(FINDINGS)


def _print(facts: Inspection, source: str | None) -> tuple[list[FoundKey], bool]:
    """Print what decides, or what one place has; return its key lines, and whether the guest lacks some."""
    content, lines, is_cut = _file(facts, source)
    if source is None:
        others = _others(facts, lines)
        content = _joined(content, others)
        lines += others
        is_cut = _complain_of(lines) or is_cut
    write_bytes(content)
    return lines, is_cut


def _file(facts: Inspection, source: str | None) -> tuple[bytes, list[FoundKey], bool]:
    """Return authorized_keys, the key lines in it, and whether the guest has it only in part."""
    item, name = _userdata(facts, source), AUTHORIZED_KEYS.decode()
    entry = item.tar.find(AUTHORIZED_KEYS)
    if entry is None:
        raise UserdataError(f"the {item.source} userdata has no {name}")
    if entry.missing:
        complain(f"{name} is cut: {entry.available} of {entry.size} bytes are there")
    content = key_file(item, entry)
    kept = kept_file(item, AUTHORIZED_KEYS)
    if kept is not None and len(kept) < len(content):
        complain(f"the guest will keep only {len(kept)} of the {entry.size} bytes of {name}")
        content = kept if source is None else content
    is_cut = bool(entry.missing) or (kept is not None and len(kept) < entry.size)
    return content, [key for key in facts.keys if key.tar is item and key.file == name], is_cut


def _others(facts: Inspection, first: list[FoundKey]) -> list[FoundKey]:
    """Return the accepted lines of the other key file whose keys the first has not."""
    known = {key.line.key for key in first if key.is_accepted}
    others = [
        key
        for key in facts.keys
        if key.tar is facts.effective and key.is_accepted and key.file != AUTHORIZED_KEYS.decode()
    ]
    return [key for key in others if key.line.key not in known]


def _joined(content: bytes, others: list[FoundKey]) -> bytes:
    if not others:
        return content
    lines = b"".join(key.line.raw + b"\n" for key in others)
    return content + (b"" if content.endswith(b"\n") or not content else b"\n") + lines


def _complain_of(keys: list[FoundKey]) -> bool:
    """Say when none of the keys is in force; return whether that is so."""
    reasons = dict.fromkeys(key.why_not for key in keys if key.is_accepted or key.refusal)
    if any(key.in_force for key in keys) or not reasons:
        return False
    complain(f"not in force: {'; '.join(reasons)}")
    return True


def _userdata(facts: Inspection, source: str | None) -> Userdata:
    item = facts.effective if source is None else facts.of_source(source)  # type: ignore[arg-type]
    if item is None:
        raise UserdataError(_nothing(facts, source))
    return item


def _nothing(facts: Inspection, source: str | None) -> str:
    there = ", ".join(dict.fromkeys(f"{key.source} {key.file}" for key in facts.keys))
    hint = f"; there are some in {there}: see --fingerprints and --from" if there else ""
    return f"no {source or 'deciding'} key on this disk, which is {facts.state}{hint}"
