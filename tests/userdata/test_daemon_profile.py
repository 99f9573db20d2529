"""The daemon's profile, as far as a shell would read it; nothing of it is run."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2dinspect.userdata.daemon_profile import WRITTEN, build_profile, parse_profile

OURS = build_profile(["provider=virtualbox"], "overlay2")


def test_what_docker_machine_writes_is_read_back() -> None:
    found = parse_profile(OURS)
    assert tuple(name for name, _ in found.values) == WRITTEN
    assert found.get("DOCKER_HOST") == "-H tcp://0.0.0.0:2376"
    assert found.get("EXTRA_ARGS").split() == ["--label", "provider=virtualbox"]
    assert (found.missing, found.is_cut, found.has_tls) == ((), False, True)


def test_a_shell_reads_the_same() -> None:
    script = OURS + b"".join(b'printf "%%s\\0" "$%s"\n' % name.encode() for name in WRITTEN)
    said = subprocess.run(["sh"], input=script, capture_output=True, check=True).stdout.decode()
    assert tuple(zip(WRITTEN, said.split("\0"), strict=False)) == parse_profile(OURS).values


@pytest.mark.parametrize("length", [20, 60, 120, 190])
def test_a_cut_shows(length: int) -> None:
    assert parse_profile(OURS[:length]).is_cut


def test_a_profile_of_ones_own_is_not_cut() -> None:
    found = parse_profile(b'# mine\nexport "HTTP_PROXY=http://proxy:1"\nDOCKER_TLS=no\nSERVERCERT=/a\n')
    assert (found.is_cut, found.has_tls, found.get("SERVERCERT")) == (False, False, "/a")


@given(st.binary(max_size=500))
def test_any_bytes_are_read(data: bytes) -> None:
    parse_profile(data)
