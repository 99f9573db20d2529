"""Fields: one Construct declaration parses, builds and documents."""

from __future__ import annotations

import uuid

import pytest
from construct import Array, Bytes, Int8ul, Int16ul, Int32ul, Struct
from hypothesis import given
from hypothesis import strategies as st

from b2dinspect.fields import Bits, Field, Header, Named, UuidBE, UuidLE

INNER = Struct(
    "kind" / Named(Int8ul, {0: "none", 7: "seven"}) * "what it is",
    "length" / Int16ul * "bytes",
)
LAYOUT = Struct(
    "magic" / Bytes(4) * "first bytes",
    "flags" / Bits(Int32ul, {1: "one", 2: "two", 0x80: "high"}) * "switches",
    "plain" / Int16ul,
    "items" / Array(2, INNER) * "repeated",
    "id" / UuidLE() * "identity",
)
ID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
DATA = bytes.fromhex(
    "4d 41 47 43  83 00 00 00  34 12  07 05 00  09 06 00  33221100 5544 7766 8899aabbccddeeff"
)

FIELDS = [
    Field(0, 4, "magic", b"MAGC", "", "first bytes"),
    Field(4, 4, "flags", 0x83, "one two high", "switches"),
    Field(8, 2, "plain", 0x1234, "", ""),
    Field(10, 1, "items[0].kind", 7, "seven", "what it is"),
    Field(11, 2, "items[0].length", 5, "", "bytes"),
    Field(13, 1, "items[1].kind", 9, "unknown", "what it is"),
    Field(14, 2, "items[1].length", 6, "", "bytes"),
    Field(16, 16, "id", ID, "", "identity"),
]


def test_fields_of_a_nested_structure() -> None:
    assert Header("test", "file", 0, LAYOUT, DATA).fields() == FIELDS


@pytest.mark.parametrize("length", range(len(DATA) + 1))
def test_a_cut_structure_shows_the_fields_that_are_whole(length: int) -> None:
    fields = Header("test", "file", 0, LAYOUT, DATA[:length]).fields()
    assert fields == [field for field in FIELDS if field.offset + field.size <= length]


def test_bytes_behind_the_structure_are_no_field() -> None:
    assert Header("test", "file", 0, LAYOUT, DATA + b"more").fields() == FIELDS


def test_parsing_and_building_agree() -> None:
    assert LAYOUT.build(LAYOUT.parse(DATA)) == DATA


@given(value=st.integers(0, 0xFFFFFFFF))
def test_unknown_bits_survive_and_are_shown(value: int) -> None:
    bits = Bits(Int32ul, {1: "one", 2: "two", 0x80: "high"})
    assert bits.build(bits.parse(value.to_bytes(4, "little"))) == value.to_bytes(4, "little")
    unknown = value & ~0x83
    assert (f"unknown:{unknown:#x}" in bits.meaning(value)) == bool(unknown)
    assert ("two" in bits.meaning(value).split()) == bool(value & 2)


def test_no_bits_mean_nothing() -> None:
    assert Bits(Int8ul, {1: "one"}).meaning(0) == ""


@given(data=st.binary(min_size=16, max_size=16))
def test_both_byte_orders_of_uuids_round_trip(data: bytes) -> None:
    assert UuidLE().build(UuidLE().parse(data)) == data
    assert UuidBE().build(UuidBE().parse(data)) == data


def test_the_byte_orders_differ_in_the_first_three_groups() -> None:
    stored = bytes(range(16))
    assert str(UuidBE().parse(stored)) == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert str(UuidLE().parse(stored)) == "03020100-0504-0706-0809-0a0b0c0d0e0f"
