"""Key pairs, against ssh-keygen and openssl."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2dinspect.errors import SourceError, UsageError, UserdataError
from b2dinspect.provisioning.keypair import load_key, make_key
from tests.disks import PUB
from tests.oracles import needs, run


@needs("ssh-keygen", "openssl")
def test_rsa_is_what_libmachine_makes(tmp_path: Path) -> None:
    pair, path = make_key("rsa"), tmp_path / "id_rsa"
    assert pair.private.startswith(b"-----BEGIN RSA PRIVATE KEY-----\n")
    assert pair.public.count(b" ") == 1
    path.write_bytes(pair.private)
    path.chmod(0o600)
    assert run("ssh-keygen", "-y", "-f", path).stdout == pair.public
    assert b"RSA key ok" in run("openssl", "rsa", "-in", path, "-check", "-noout").stdout
    assert b"2048 " in run("ssh-keygen", "-lf", path).stdout


@needs("ssh-keygen")
def test_keys_are_loaded_from_either_half(tmp_path: Path) -> None:
    path = tmp_path / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-C", "me", "-N", "", "-f", path)
    private, public = path.read_bytes(), path.with_suffix(".pub").read_bytes()
    assert load_key(path) == load_key(path.with_suffix(".pub")) == (private, public)
    path.with_suffix(".pub").unlink()
    assert load_key(path).public.split() == public.split()[:2]
    (tmp_path / "alone.pub").write_bytes(PUB)
    assert load_key(tmp_path / "alone.pub") == (b"", PUB)


@needs("ssh-keygen")
def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(SourceError, match="No such file"):
        load_key(path)
    for content in (b"", b"hello\n", b"ssh-rsa AAAA\n"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="no SSH key in it"):
            load_key(path)
    path.write_bytes(PUB * 1000)
    with pytest.raises(UsageError, match="larger than any key file"):
        load_key(path)
    path.write_bytes(make_key("rsa").private[:300])
    with pytest.raises(UserdataError):
        load_key(path)
