"""authorized_keys as sshd reads it. The oracles are ssh-keygen and, where it is installed, sshd itself."""

from __future__ import annotations

import base64
import getpass
import random
import re
import shlex
import shutil
import struct
import subprocess
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2dinspect.errors import UserdataError
from b2dinspect.userdata.authorized_keys import MAX_LINES, KeyLine, Option, PublicKey, decode_blob, parse
from tests.oracles import PATIENCE

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")

needs_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
needs_sshd = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None, reason="sshd and ssh are not both installed"
)


# --- keys made by hand ------------------------------------------------------------------------------------


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def mpint(number: int) -> bytes:
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def rsa(bits: int = 2048, kind: bytes = b"ssh-rsa") -> bytes:
    return string(kind) + mpint(65537) + mpint(2 ** (bits - 1) + 1)


# The base point of P-256 (FIPS 186-4 D.1.2.3) is a point like any other.
X256 = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
Y256 = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5
P256 = 2**256 - 2**224 + 2**192 + 2**96 - 1


def point(x: int = X256, y: int = Y256, mark: int = 4) -> bytes:
    return string(bytes([mark]) + x.to_bytes(32, "big") + y.to_bytes(32, "big"))


ED25519 = string(b"ssh-ed25519") + string(bytes(range(32)))
ECDSA = string(b"ecdsa-sha2-nistp256") + string(b"nistp256") + point()
DSA = string(b"ssh-dss") + b"".join(mpint(2**bits + 1) for bits in (1023, 159, 1022, 1021))
SK_ED25519 = string(b"sk-ssh-ed25519@openssh.com") + string(bytes(range(32))) + string(b"ssh:")
SK_ECDSA = string(b"sk-ecdsa-sha2-nistp256@openssh.com") + string(b"nistp256") + point() + string(b"ssh:")
CERT_HEAD = string(b"ssh-ed25519-cert-v01@openssh.com") + string(b"n" * 32) + string(bytes(range(32)))
CERT_TAIL = string(b"id") + string(string(b"docker")) + bytes(16) + 3 * string(b"") + 2 * string(b"-")
CERT = CERT_HEAD + struct.pack(">QI", 7, 1) + CERT_TAIL
SAMPLES = {
    "rsa": rsa(),
    "dsa": DSA,
    "ed25519": ED25519,
    "ecdsa": ECDSA,
    "sk-ed25519": SK_ED25519,
    "sk-ecdsa": SK_ECDSA,
    "certificate": CERT,
}


def key_line(blob: bytes, comment: str = "") -> bytes:
    kind = decode_blob(blob).type
    return f"{kind} {base64.b64encode(blob).decode()} {comment}".rstrip().encode()


def one(line: bytes) -> KeyLine:
    (result,) = parse(line)
    return result


# --- ssh-keygen as oracle ---------------------------------------------------------------------------------


class Listed(NamedTuple):
    bits: int
    fingerprint: str
    comment: str
    type: str


def keygen_list(path: Path, hash_name: str = "sha256") -> list[Listed]:
    done = subprocess.run(
        ["ssh-keygen", "-E", hash_name, "-lf", path], capture_output=True, text=True, check=False
    )
    found = (re.fullmatch(r"(\d+) (\S+) (.*) \((\S+)\)", row) for row in done.stdout.splitlines())
    return [Listed(int(row[1]), row[2], row[3], row[4]) for row in found if row]


def assert_as_keygen_says(path: Path, *, valid: bool = True) -> PublicKey:
    (line,) = parse(path.read_bytes())
    assert line.valid is valid
    assert line.key is not None
    (sha256,) = keygen_list(path)
    (md5,) = keygen_list(path, "md5")
    assert (line.key.bits, line.key.sha256, line.key.md5) == (
        sha256.bits,
        sha256.fingerprint,
        md5.fingerprint,
    )
    assert (line.comment or "no comment") == sha256.comment
    assert short_type(line.key.type) == sha256.type
    return line.key


def short_type(name: str) -> str:
    """ssh-keygen's name of a key type: ``ED25519-SK-CERT`` of ``sk-ssh-ed25519-cert-v01@openssh.com``."""
    middle = re.sub(r"-cert-v01|@openssh\.com|-sha2-(nistp)?\d+|^sk-|^ssh-", "", name).removeprefix("ssh-")
    short = middle.upper().replace("DSS", "DSA")
    return short + ("-SK" if name.startswith("sk-") else "") + ("-CERT" if "-cert-" in name else "")


KINDS = ["rsa-1024", "rsa-2048", "rsa-3072", "rsa-4096", "dsa-1024", "ecdsa-256", "ecdsa-384", "ecdsa-521"]
KINDS += ["ed25519-256"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one key pair of every kind, all made at once."""
    home = tmp_path_factory.mktemp("keys")
    running = []
    for kind in KINDS:
        name, bits = kind.split("-")
        argv = ["ssh-keygen", "-q", "-t", name, "-b", bits, "-N", "", "-C", f"{kind} key", "-f", home / kind]
        running.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    for process in running:
        process.wait()
    return home


@needs_keygen
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_generated_key(keys: Path, kind: str) -> None:
    path = keys / f"{kind}.pub"
    if not path.exists():
        pytest.skip(f"this ssh-keygen makes no {kind} keys")
    key = assert_as_keygen_says(path)
    assert key.bits == int(kind.split("-")[1])
    assert key.identity == key.blob
    assert not key.certified


@needs_keygen
@pytest.mark.parametrize("extra", [[], ["-h"]], ids=["user", "host"])
@pytest.mark.parametrize("kind", ["rsa-2048", "ecdsa-256", "ecdsa-384", "ecdsa-521", "ed25519-256"])
@pytest.mark.slow(but=1)
def test_certificate(keys: Path, tmp_path: Path, kind: str, extra: list[str]) -> None:
    public = shutil.copy(keys / f"{kind}.pub", tmp_path / "id.pub")
    argv = ["ssh-keygen", "-q", "-s", keys / "ed25519-256", "-I", "some id", "-n", "docker,root", "-V", "+1d"]
    subprocess.run([*argv, *extra, public], check=True)
    key = assert_as_keygen_says(tmp_path / "id-cert.pub", valid=False)
    plain = one(public.read_bytes()).key
    assert plain is not None
    assert key.certified
    assert key.identity == plain.identity
    assert key.blob != plain.blob
    assert "certificate" in one((tmp_path / "id-cert.pub").read_bytes()).error


@needs_keygen
@pytest.mark.parametrize("name", ["rsa", "dsa", "ecdsa", "ed25519", "sk-ed25519", "sk-ecdsa"])
def test_key_made_by_hand(tmp_path: Path, name: str) -> None:
    path = tmp_path / "id.pub"
    path.write_bytes(key_line(SAMPLES[name], "by hand") + b"\n")
    if name == "dsa" and not keygen_list(path):
        pytest.skip("this ssh-keygen knows no DSA")
    assert_as_keygen_says(path)


@needs_keygen
@pytest.mark.parametrize("bits", [2048, 4096])
def test_golden(bits: int) -> None:
    key = assert_as_keygen_says(GOLDEN / f"rsa{bits}.pub")
    assert (key.type, key.bits) == ("ssh-rsa", bits)


ODD_SPELLINGS = {
    "needless zeros": string(b"ssh-rsa") + string(b"\0\0\1\0\1") + string(b"\0\0\0" + mpint(2**2047 + 1)[5:]),
    "NUL behind the type": rsa(kind=b"ssh-rsa\0"),
    "signature algorithm as type": rsa(kind=b"rsa-sha2-512"),
}


@needs_keygen
@pytest.mark.parametrize("name", ODD_SPELLINGS)
def test_odd_spelling_is_the_same_key(tmp_path: Path, name: str) -> None:
    blob = ODD_SPELLINGS[name]
    path = tmp_path / "id.pub"
    path.write_bytes(b"ssh-rsa " + base64.b64encode(blob) + b"\n")
    assert_as_keygen_says(path)
    assert decode_blob(blob).identity == rsa()


@needs_keygen
@pytest.mark.parametrize("bits", [1023, 1024, 16384, 16385])
def test_limits_of_rsa_size(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "id.pub"
    path.write_bytes(b"ssh-rsa " + base64.b64encode(rsa(bits)) + b"\n")
    assert one(path.read_bytes()).valid is bool(keygen_list(path)) is (bits in (1024, 16384))


@needs_keygen
def test_damaged_keys_as_ssh_keygen_judges_them(keys: Path, tmp_path: Path) -> None:
    dice = random.Random(20240229)
    blobs = [base64.b64decode(path.read_text().split()[1]) for path in sorted(keys.glob("*.pub"))]
    blobs += [SK_ED25519, SK_ECDSA]
    rows = []
    for number in range(600):
        blob = dice.choice(blobs)
        kind = decode_blob(blob).type
        rows.append(f"{kind} {base64.b64encode(damaged(blob, dice)).decode()} {number}")
    path = tmp_path / "damaged.pub"
    path.write_text("\n".join(rows))
    expected = {row.comment: (row.bits, row.fingerprint) for row in keygen_list(path)}
    read = {
        line.comment: (line.key.bits, line.key.sha256)
        for line in parse(path.read_bytes())
        if line.key is not None and line.valid
    }
    assert read == expected
    assert 50 < len(expected) < 550  # the damage neither spares nor spoils everything


def damaged(blob: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(blob))
    return dice.choice(
        [
            blob[:at],
            blob + bytes(dice.randrange(1, 5)),
            blob[:at] + b"\0" + blob[at:],
            blob[:at] + blob[at + 1 :],
            blob[:at] + bytes([blob[at] ^ 1 << dice.randrange(8)]) + blob[at + 1 :],
            blob[: at % 32] + bytes([blob[at % 32] ^ 1]) + blob[at % 32 + 1 :],
        ]
    )


# --- one fault in a blob ----------------------------------------------------------------------------------

SHORT_TYPE = string(b"ssh-rsa")
BLOB_FAULTS = {
    "empty": (b"", 0, "length of key type is cut short (expected 4 bytes, found 0 bytes)"),
    "type: hostile length": (b"\xff\xff\xff\xff" + rsa()[4:], 4, "expected 4294967295 bytes, found "),
    "type: empty": (string(b""), 0, "no key type"),
    "type: a NUL inside": (string(b"ssh\0rsa"), 0, "key type holds a NUL byte"),
    "type: a blank inside": (string(b"ssh rsa"), 0, "no key type"),
    "type: an escape": (string(b"\x1b[31m"), 0, r"found '\x1b[31m'"),
    "type: too long": (string(b"x" * 65), 0, "1 to 64 printable"),
    "RSA e: hostile length": (SHORT_TYPE + b"\xff\xff\xff\xff" + b"1", 15, "RSA exponent is cut short"),
    "RSA e: negative": (SHORT_TYPE + string(b"\x80") + mpint(2**2047), 11, "RSA exponent is negative"),
    "RSA n: absent": (SHORT_TYPE + mpint(3), 16, "length of RSA modulus is cut short"),
    "RSA n: too short": (rsa(1023), 18, "expected 1024 bits or more, found 1023 bits"),
    "RSA n: too long": (rsa(16385), 18, "RSA modulus is too long"),
    "RSA n: too many zeros": (SHORT_TYPE + mpint(3) + string(bytes(2050)), 16, "RSA modulus is too long"),
    "RSA: more behind it": (rsa() + b"\0", len(rsa()), "bytes follow the key (expected none, found 1)"),
    "DSA y: absent": (DSA[:-132], len(DSA) - 132, "length of DSA y is cut short"),
    "Ed25519: short": (string(b"ssh-ed25519") + string(bytes(31)), 15, "expected 32 bytes, found 31 bytes"),
    "ECDSA: curve": (
        string(b"ecdsa-sha2-nistp384") + ECDSA[23:],
        23,
        "wrong curve (expected nistp384, found 'nistp256')",
    ),
    "ECDSA: compressed": (ECDSA[:35] + string(b"\2" + bytes(32)), 35, "curve point is not uncompressed"),
    "ECDSA: mark": (ECDSA[:35] + point(mark=6), 35, "curve point is not uncompressed"),
    "ECDSA: off the curve": (ECDSA[:35] + point(y=Y256 ^ 1), 35, "point is off the curve"),
    "ECDSA: x over p": (ECDSA[:35] + point(x=5 + P256), 35, "point is off the curve"),
    "sk: no application": (SK_ED25519[:-8], len(SK_ED25519) - 8, "length of application is cut short"),
    "sk: NUL in application": (
        SK_ED25519[:-8] + string(b"s\0h"),
        len(SK_ED25519) - 8,
        "application holds a NUL",
    ),
    "certificate: kind": (
        CERT_HEAD + struct.pack(">QI", 7, 3) + CERT_TAIL,
        len(CERT_HEAD) + 8,
        "expected 1 (user) or 2 (host), found 3",
    ),
    "certificate: more behind it": (CERT + b"!", len(CERT), "bytes follow the key"),
}


@pytest.mark.parametrize("name", BLOB_FAULTS)
def test_fault_in_blob(name: str) -> None:
    blob, offset, message = BLOB_FAULTS[name]
    with pytest.raises(UserdataError) as caught:
        decode_blob(blob)
    assert (caught.value.layer, caught.value.offset) == ("key blob", offset)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", SAMPLES)
def test_blob_cut_anywhere(name: str) -> None:
    blob = SAMPLES[name]
    decode_blob(blob)
    for size in range(len(blob)):
        with pytest.raises(UserdataError, match="cut short") as caught:
            decode_blob(blob[:size])
        assert caught.value.offset is not None
        assert caught.value.offset <= size


@pytest.mark.parametrize("at", [0, 11, 18])
def test_hostile_length_allocates_nothing(at: int) -> None:
    blob = bytearray(rsa())
    blob[at : at + 4] = b"\xff\xff\xff\xff"
    tracemalloc.start()
    try:
        with pytest.raises(UserdataError, match="cut short"):
            decode_blob(bytes(blob))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_unknown_type_is_no_error() -> None:
    blob = string(b"ssh-tomorrow") + b"\xff whatever"
    assert decode_blob(blob) == PublicKey("ssh-tomorrow", blob, None, blob)


@given(st.binary())
def test_any_blob(blob: bytes) -> None:
    try:
        key = decode_blob(blob)
    except UserdataError as fault:
        assert str(fault).isascii()
    else:
        assert key.blob == blob


@given(st.sampled_from(list(SAMPLES.values())), st.data())
def test_any_damage_to_a_blob(blob: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(blob)))
    end = data.draw(st.integers(at, len(blob)))
    changed = blob[:at] + data.draw(st.binary(max_size=8)) + blob[end:]
    try:
        key = decode_blob(changed)
    except UserdataError as fault:
        assert fault.layer == "key blob"
        assert str(fault).isascii()
    else:
        assert key.blob == changed
        assert key.bits is None or decode_blob(key.identity).identity == key.identity


# --- lines ------------------------------------------------------------------------------------------------
# KEY stands for TYPE DATA, one good key; the sshd tests put a real one there.


def fill(template: bytes, key: bytes) -> bytes:
    kind, data = key.split()[:2]
    parts = {b"KEY": kind + b" " + data, b"TYPE": kind, b"DATA": data, b"HEAD": data[:40], b"TAIL": data[40:]}
    return re.sub(rb"KEY|TYPE|DATA|HEAD|TAIL", lambda found: parts[found[0]], template)


KEY = key_line(ED25519)

PLAIN = {  # template -> comment
    b"KEY": "",
    b"KEY alice@laptop": "alice@laptop",
    b"KEY two words \t": "two words \t",
    b" \t TYPE\t DATA \t tabs": "tabs",
    b"KEY carriage return\r": "carriage return",
    b"KEY\r": "",
    b"TYPE HEAD\r\v\fTAIL blanks inside": "blanks inside",
    b"KEY\0behind": "\0behind",
    b"KEY seen\0unseen": "seen\0unseen",
    b"KEY na\xefve": "na\udcefve",
    b"KEY na\xc3\xafve": "naïve",
    b"KEY # no comment mark": "# no comment mark",
}

OPTIONS = {  # what comes before the key -> what it means
    b"restrict": [Option("restrict")],
    b"RESTRICT,No-X11-Forwarding": [Option("restrict"), Option("no-x11-forwarding")],
    b"restrict,,pty": [Option("restrict"), Option("pty")],
    b",restrict,": [Option("restrict")],
    b",": [],
    b"no-pty,user-rc,no-user-rc,no-agent-forwarding,agent-forwarding": [
        Option("no-pty"),
        Option("user-rc"),
        Option("no-user-rc"),
        Option("no-agent-forwarding"),
        Option("agent-forwarding"),
    ],
    b"port-forwarding,no-port-forwarding,no-touch-required,verify-required": [
        Option("port-forwarding"),
        Option("no-port-forwarding"),
        Option("no-touch-required"),
        Option("verify-required"),
    ],
    b'command="a, b"': [Option("command", "a, b")],
    b'command=""': [Option("command", "")],
    b'command="say \\"a b\\", \\\\c",pty': [Option("command", 'say "a b", \\\\c'), Option("pty")],
    b'command="\\\\" x"': [Option("command", '\\" x')],
    b'command="caf\xe9"': [Option("command", "caf\udce9")],
    b'from="10.0.*,!10.0.0.9"': [Option("from", "10.0.*,!10.0.0.9")],
    b'environment="A_1=b=c",environment="B="': [
        Option("environment", "A_1=b=c"),
        Option("environment", "B="),
    ],
    b'expiry-time="20990231"': [Option("expiry-time", "20990231")],
    b'expiry-time="209901012359z"': [Option("expiry-time", "209901012359z")],
    b'expiry-time="20990101235961UTC"': [Option("expiry-time", "20990101235961UTC")],
    b'permitopen="h:80",permitopen="[::1]:*",permitopen="*:+0080",permitopen="h/ 65535"': [
        Option("permitopen", value) for value in ("h:80", "[::1]:*", "*:+0080", "h/ 65535")
    ],
    b'permitlisten="8080",permitlisten="localhost:1"': [
        Option("permitlisten", "8080"),
        Option("permitlisten", "localhost:1"),
    ],
    b'tunnel="ANY"': [Option("tunnel", "ANY")],
    b'tunnel="3"': [Option("tunnel", "3")],
}

BROKEN = {  # template -> reason
    b"hello world": "expected a key type or options, found 'hello'",
    b"hello": "expected a key type or options, found 'hello'",
    b"TYPE": "key data: none after the type",
    b"TYPE \r": "key data: none after the type",
    b"DATA": "expected a key type or options, found",
    b"TYPE HEAD": "cut short",
    b"TYPE HEAD TAIL": "cut short",
    b"TYPE HEAD\0TAIL": "cut short",
    b"TYPE DATA=": "key data: bad base64 (expected groups of 4 characters, found ",
    b"TYPE HEA!TAIL": "key data: bad base64 (expected groups of 4 characters, found '!')",
    b"TYPE DATA\xc3": r"found '\udcc3')",
    b"TYPE DATAAAAA": "key blob: bytes follow the key",
    b"\xef\xbb\xbfKEY": r"unknown key type '\ufeffssh-ed25519' (in the key data: 'ssh-ed25519')",
    b"\fKEY": r"unknown key type '\x0cssh-ed25519'",
    b"SSH-ED25519 DATA": "unknown key type 'SSH-ED25519'",
    b"ssh-rsa DATA": "key type 'ssh-rsa' differs from 'ssh-ed25519' in the key data",
    b"restrict DATA": "unknown key type 'restrict'",
    b"restrict ssh-rsa DATA": "key type 'ssh-rsa' differs from 'ssh-ed25519' in the key data",
    b"restrict hello DATAA": "no key after the options",
    b"restrict": "no key after the options",
    b"restrict ": "no key after the options",
    b"TYPE KEY": "unknown option 'ssh-ed25519'",
    b"bogus KEY": "unknown option 'bogus'",
    b"restrict,bogus KEY": "unknown option 'bogus'",
    b"restrictpty KEY": "unknown option 'restrictpty'",
    b"restrict\r KEY": r"unknown option 'restrict\r'",
    b"no-restrict KEY": "unknown option 'no-restrict'",
    b"\x1b[2J KEY": r"unknown option '\x1b[2j'",
    b'"restrict" KEY': "unknown option ''",
    b'restrict="x" KEY': "option restrict takes no value, found 'x'",
    b'command="a"pty KEY': "option command: expected a comma or blank behind it, found 'pty'",
    b"command KEY": "option command: expected =\"value\", found ''",
    b"command= KEY": "option command: expected =\"value\", found '='",
    b"command=true KEY": "option command: expected =\"value\", found '=true'",
    b'restrict,command="true KEY': "a quote in the options is not closed",
    b'command="true\\" KEY': "a quote in the options is not closed",
    b'command="a",Command="b" KEY': "option command is given twice",
    b'from="*",from="*" KEY': "option from is given twice",
    b'principals="docker" KEY': "option principals needs option cert-authority",
    b'environment="A" KEY': "option environment does not take the value 'A'",
    b'environment="A-B=c" KEY': "option environment does not take the value 'A-B=c'",
    b'environment="=c" KEY': "option environment does not take the value '=c'",
    b'expiry-time="2099" KEY': "option expiry-time does not take the value '2099'",
    b'expiry-time="20991301" KEY': "option expiry-time does not take",
    b'expiry-time="209901012400" KEY': "option expiry-time does not take",
    b'expiry-time="20990101000062" KEY': "option expiry-time does not take",
    b'expiry-time="19690101" KEY': "option expiry-time does not take",
    b'permitopen="host" KEY': "option permitopen does not take the value 'host'",
    b'permitopen="h:0" KEY': "option permitopen does not take the value 'h:0'",
    b'permitopen="h:65536" KEY': "option permitopen does not take the value 'h:65536'",
    b'permitopen="::1:80" KEY': "option permitopen does not take the value '::1:80'",
    b'permitopen="[::1:80" KEY': "option permitopen does not take the value '[::1:80'",
    b'permitlisten="70000" KEY': "option permitlisten does not take the value '70000'",
    b'tunnel="x" KEY': "option tunnel does not take the value 'x'",
    b'tunnel="2147483646" KEY': "option tunnel does not take the value '2147483646'",
}

IDLE = {  # neither key nor fault
    b"": "blank",
    b" \t": "blank",
    b"\r": "blank",
    b"\0KEY": "blank",
    b"  \0": "blank",
    b"#": "comment",
    b" \t# KEY": "comment",
}


@pytest.mark.parametrize("template", PLAIN)
def test_plain_line(template: bytes) -> None:
    line = one(fill(template, KEY))
    assert (line.valid, line.kind, line.error, line.options) == (True, "key", "", ())
    assert (line.type, line.comment) == ("ssh-ed25519", PLAIN[template])
    assert line.key == decode_blob(ED25519)


@pytest.mark.parametrize("before", OPTIONS)
def test_options(before: bytes) -> None:
    line = one(before + b" \t" + KEY + b" comment")
    assert (line.valid, line.error, line.comment) == (True, "", "comment")
    assert list(line.options) == OPTIONS[before]
    assert line.key == decode_blob(ED25519)


@pytest.mark.parametrize("before", OPTIONS)
def test_options_written_back(before: bytes) -> None:
    written = ",".join(map(str, OPTIONS[before])).encode("utf-8", "surrogateescape")
    assert list(one(written + b" " + KEY).options) == OPTIONS[before]


def test_option_spelling() -> None:
    assert str(Option("restrict")) == "restrict"
    assert str(Option("command", 'say "hi"')) == 'command="say \\"hi\\""'


@pytest.mark.parametrize("template", BROKEN)
def test_broken_line(template: bytes) -> None:
    raw = fill(template, KEY)
    good, line, last = parse(b"\n".join([KEY, raw, KEY]))
    assert good.valid
    assert last.valid
    assert (line.number, line.kind, line.valid, line.raw) == (2, "broken", False, raw)
    assert BROKEN[template] in line.error
    assert re.fullmatch("[ -~]+", line.error)
    no_key = ("expected a key type", "key data: ", "key blob: ", "no key after", "a quote in the options")
    assert line.key == (None if line.error.startswith(no_key) else decode_blob(ED25519))


@pytest.mark.parametrize("template", IDLE)
def test_idle_line(template: bytes) -> None:
    raw = fill(template, KEY)
    line, _ = parse(raw + b"\n" + KEY)
    assert line == KeyLine(1, IDLE[template], raw)  # type: ignore[arg-type]
    assert not line.valid


@pytest.mark.parametrize(
    ("name", "blob"),
    [
        ("rsa-sha2-256", rsa()),
        ("rsa-sha2-512", rsa()),
        ("ssh-rsa", rsa(kind=b"rsa-sha2-256")),
        ("webauthn-sk-ecdsa-sha2-nistp256@openssh.com", SK_ECDSA),
    ],
)
def test_signature_algorithm_as_key_type(name: str, blob: bytes) -> None:
    line = one(name.encode() + b" " + base64.b64encode(blob))
    assert (line.valid, line.type) == (True, name)


def test_unsupported_type_keeps_its_key() -> None:
    blob = string(b"ssh-tomorrow") + b"..."
    line = one(b"pty " + key_line(blob, "someone"))
    assert (line.kind, line.type, line.comment) == ("broken", "ssh-tomorrow", "someone")
    assert line.error == "unknown key type 'ssh-tomorrow' (in the key data: 'ssh-tomorrow')"
    assert line.key == PublicKey("ssh-tomorrow", blob, None, blob)
    assert line.options == (Option("pty"),)


def test_options_before_the_fault_are_kept() -> None:
    line = one(b'pty,command="x",bogus,user-rc ' + KEY)
    assert line.options == (Option("pty"), Option("command", "x"))


def test_ca_may_name_principals() -> None:
    assert one(b'cert-authority,principals="docker" ' + KEY).valid


def test_certificate_lets_nobody_in() -> None:
    for line in parse(key_line(CERT) + b"\ncert-authority " + key_line(CERT)):
        assert line.kind == "broken"
        assert line.error.startswith("a certificate lets nobody in")
        assert line.key is not None
        assert line.key.identity == ED25519


def test_lines_end_at_newlines_only() -> None:
    assert parse(b"") == ()
    text = b"\n# one\r\n" + KEY + b"\x85\x0b\x1c\xe2\x80\xa8x\n\n"
    assert [(line.number, line.kind) for line in parse(text)] == [
        (1, "blank"),
        (2, "comment"),
        (3, "broken"),
        (4, "blank"),
    ]


WORDS = [b"ssh-rsa", b"ssh-ed25519", b"restrict", b'command="', b"AAAA", b'expiry-time="20990101"', b"\xff"]
MARKS = [b'"', b"\\", b",", b" ", b"\t", b"\n", b"\r", b"\0", b"#", b"="]
FRAGMENTS = st.sampled_from([KEY, key_line(SK_ECDSA), key_line(CERT), *WORDS, *MARKS])


@settings(deadline=None)
@given(st.binary() | st.lists(FRAGMENTS | st.binary(max_size=3)).map(b"".join))
def test_any_text(text: bytes) -> None:
    lines = parse(text)
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    rejoined = b"\n".join(line.raw for line in lines)
    assert text in {rejoined, rejoined + b"\n"}
    for line in lines:
        assert line.valid == (line.kind == "key")
        assert bool(line.error) == (line.kind == "broken")
        assert line.key is not None or not line.valid
        assert re.fullmatch("[ -~]*", line.error)
        assert len(line.error) < 600


@given(st.binary().filter(lambda value: not {0, 10} & set(value)))
def test_any_command(value: bytes) -> None:
    text = value.decode("utf-8", "surrogateescape")
    if text.endswith("\\") or '\\"' in text:
        return  # sshd has no spelling for a backslash before a quote
    written = str(Option("command", text)).encode("utf-8", "surrogateescape")
    assert one(written + b" " + KEY).options == (Option("command", text),)


LONG = [
    b"a" * 10**6,
    b'"' * 10**6,
    b'\\"' * 10**6,
    b'a"' * 10**5,
    b'command="' + b'\\"' * 10**6,
    b"restrict," * 10**5 + b" x",
    b'environment="a=b",' * 10**4 + b" x y",
    b"ssh-rsa " + b"A" * 10**6,
    b"\n" * 10**5,
]


@pytest.mark.parametrize("text", LONG, ids=lambda text: text[:12].decode() + "...")
@pytest.mark.slow
def test_long_text_takes_linear_time(text: bytes) -> None:
    lines = parse(text)  # would take hours if it were not
    assert len(lines) in (1, MAX_LINES + 1)


# --- sshd as oracle ---------------------------------------------------------------------------------------


class Server:
    """An sshd that serves one login on stdin and stdout: no port, no daemon."""

    def __init__(self, home: Path) -> None:
        self.home = home
        for name in ("host", "client"):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", home / name]
            subprocess.run(argv, check=True)
        self.key = (home / "client.pub").read_bytes().strip()

    def judge(self, lines: list[bytes], identity: str = "client") -> tuple[bool, str]:
        """Try to log in with a key of ours (ssh adds its certificate); gives success, and sshd's log."""
        keys_file = self.home / f"keys-{random.getrandbits(64):x}"
        keys_file.write_bytes(b"".join(line + b"\n" for line in lines))
        log = keys_file.with_suffix(".log")
        setup = f"HostKey={self.home}/host AuthorizedKeysFile={keys_file} StrictModes=no UsePAM=no"
        setup += " LogLevel=DEBUG1 PermitRootLogin=yes PidFile=none"
        options = [word for setting in setup.split() for word in ("-o", setting)]
        server = shlex.join([str(SSHD), "-i", "-f", "/dev/null", "-E", str(log), *options])
        client = "BatchMode=yes IdentitiesOnly=yes IdentityAgent=none PreferredAuthentications=publickey"
        client += " StrictHostKeyChecking=no UserKnownHostsFile=/dev/null"
        argv = ["ssh", "-F", "/dev/null", "-i", self.home / identity, "-o", f"ProxyCommand={server}"]
        argv += [word for setting in client.split() for word in ("-o", setting)]
        done = subprocess.run(
            [*argv, f"{getpass.getuser()}@sshd", "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        report = log.read_text(errors="replace") if log.exists() else done.stderr.decode(errors="replace")
        return done.returncode == 0, report


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    made = Server(tmp_path_factory.mktemp("sshd"))
    accepted, report = made.judge([made.key])
    if not accepted:
        pytest.skip(f"sshd does not run here: {report.strip().splitlines()[-1:]}")
    return made


@needs_keygen
@needs_sshd
def test_sshd_passes_over_every_broken_line(server: Server) -> None:
    lines = [fill(template, server.key) for template in (*BROKEN, *IDLE)] + [server.key]
    accepted, report = server.judge(lines)
    assert accepted
    assert set(re.findall(r"Accepted key .*:(\d+)", report)) == {str(len(lines))}


@needs_keygen
@needs_sshd
@pytest.mark.slow
def test_sshd_accepts_every_plain_line(server: Server) -> None:
    lines = [fill(template, server.key) for template in PLAIN]
    with ThreadPoolExecutor() as pool:
        results = pool.map(lambda line: server.judge([line])[0], lines)
    assert dict(zip(lines, results, strict=True)) == dict.fromkeys(lines, True)


@needs_keygen
@needs_sshd
def test_sshd_reads_all_options(server: Server) -> None:
    # A key expired long ago is refused only after its options were read: one login judges all the lines.
    lines = [before + b',expiry-time="20000101" ' + server.key for before in OPTIONS]
    accepted, report = server.judge(lines)
    assert not accepted
    read = {int(number) for number in re.findall(r":(\d+): entry expired", report)}
    assert read == set(range(1, len(lines) + 1))


@needs_keygen
@needs_sshd
def test_sshd_wants_the_ca_and_not_the_certificate(server: Server) -> None:
    for name in ("client", "client.pub"):
        shutil.copy(server.home / name, server.home / name.replace("client", "bearer"))
    argv = ["ssh-keygen", "-q", "-s", server.home / "host", "-I", "id", "-n", getpass.getuser()]
    subprocess.run([*argv, server.home / "bearer.pub"], check=True)
    certificate = (server.home / "bearer-cert.pub").read_bytes().strip()
    ca = b"cert-authority " + (server.home / "host.pub").read_bytes().strip()
    for line in (certificate, b"cert-authority " + certificate, ca):
        assert server.judge([line], "bearer")[0] is one(line).valid is (line == ca)
