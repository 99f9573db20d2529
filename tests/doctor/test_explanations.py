"""The data file against its readers: no word of it is lost, and what is not in it is said all the same."""

from __future__ import annotations

import tomllib
from typing import get_args

import pytest

from b2dinspect.doctor.explanations import (
    ALL_LINKS,
    DATA,
    KEYS,
    SURE,
    SYSTEMS,
    Mend,
    explain,
    explanation_of,
    explanations,
    families,
)
from b2dinspect.errors import UsageError
from b2dinspect.findings import Finding
from b2dinspect.machine.disks import DISKS

ENTRIES = tomllib.loads(DATA.read_text(encoding="utf-8"))


def test_every_entry_is_read_in_the_order_of_the_chain() -> None:
    links = [ALL_LINKS.index(one.link) for one in explanations()]
    assert links == sorted(links)
    assert {one.id for one in explanations()} == set(ENTRIES)


@pytest.mark.parametrize("name", ENTRIES)
def test_no_key_of_an_entry_is_a_slip(name: str) -> None:
    entry = ENTRIES[name]
    assert set(entry) <= KEYS | set(DISKS)
    assert entry.get("mends", "") in get_args(Mend)
    assert entry.get("by", "bytes") in SURE
    read = next(one for one in explanations() if one.id == name)
    commands = [*entry.get("do", ()), *entry.get("unix", ()), *entry.get("windows", ())]
    assert {word for system in SYSTEMS for word in read.commands[system]} == set(commands)
    assert "\n" not in read.why + read.fix + read.end
    assert read.sure == entry.get("sure", SURE[read.by])


def test_unix_is_linux_and_macos_and_not_windows() -> None:
    commands = explain("key-permissions").commands
    assert commands["linux"] == commands["macos"] == ("chmod 600 KEY",)
    assert commands["windows"][0].startswith("icacls")


def test_its_own_entry_comes_before_its_familys() -> None:
    assert explain("ext4-unclean").title != explain("ext4-anything").title
    assert explain("ext4-anything").title == ENTRIES["ext4-*"]["title"]
    assert explain("ext4-anything").id == "ext4-anything"


@pytest.mark.parametrize("name", ["", "no-such-finding", "ext4-*", "*", "ext4"])
def test_what_is_no_finding_has_none(name: str) -> None:
    with pytest.raises(UsageError, match="b2dinspect explain"):
        explain(name)


def test_a_finding_of_a_format_from_outside_is_told_in_its_own_words() -> None:
    found = explanation_of(Finding("toy-odd", "warning", "a toy is odd", 3, "file"))
    assert (found.id, found.title, found.link) == ("toy-odd", "a toy is odd", "container")
    assert found.sure
    assert not any(found.commands.values())
    assert explanation_of(Finding("key-empty", "error", "", None, "file")) == explain("key-empty")


def test_families_have_a_star() -> None:
    assert {one.id for one in families()} == {name for name in ENTRIES if "*" in name}
