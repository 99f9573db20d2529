"""Identities of new disks: pinned by a seed, else never twice the same."""

from __future__ import annotations

from b2dinspect.identity import PINNED_TIME, Identities


def test_a_seed_pins_everything() -> None:
    one, two = Identities.from_seed("x"), Identities.from_seed("x")
    assert one.uuid("disk") == two.uuid("disk")
    assert one.number("disk") == two.number("disk")
    assert one.time == two.time == PINNED_TIME


def test_names_and_seeds_tell_identities_apart() -> None:
    one = Identities.from_seed("x")
    assert len({one.uuid("disk"), one.uuid("part"), Identities.from_seed("y").uuid("disk")}) == 3


def test_without_a_seed_no_two_disks_are_alike_but_one_is_like_itself() -> None:
    one, two = Identities(), Identities.from_seed(None)
    assert one.uuid("disk") == one.uuid("disk") != two.uuid("disk")
    assert one.time > PINNED_TIME


def test_a_number_has_32_bits() -> None:
    assert all(0 <= Identities().number("x") < 1 << 32 for _ in range(100))
