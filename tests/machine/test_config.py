"""config.json: all versions, and everything that can be wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from b2dinspect.machine.config import MAX_SIZE, Config, is_windows, read_config
from tests.machine.helpers import config_of, machine

# Shapes of older versions: libmachine/host/host_v0.go and host_v2.go.
V0 = {
    "DriverName": "virtualbox",
    "StorePath": "/home/me/.docker/machine/machines/dev",
    "CaCertPath": "/home/me/.docker/machine/certs/ca.pem",
    "Driver": {"MachineName": "dev", "SSHUser": "docker", "SSHPort": 2022, "DiskSize": 20000},
}
V1 = {
    "ConfigVersion": 1,
    "DriverName": "virtualbox",
    "StorePath": "/home/me/.docker/machine/machines/dev",
    "HostOptions": {"AuthOptions": {"CaCertPath": "/home/me/.docker/machine/certs/ca.pem"}},
    "Driver": {"MachineName": "dev", "SSHUser": "docker", "SSHPort": 2022},
}
V2 = {
    "ConfigVersion": 2,
    "DriverName": "virtualbox",
    "HostOptions": {"AuthOptions": {"StorePath": "/home/me/.docker/machine/machines/dev"}},
    "Driver": {"MachineName": "dev", "SSHUser": "docker", "SSHPort": 2022},
}


def read(folder: Path, config: dict[str, Any] | bytes) -> Config:
    return read_config(machine(folder, config))


def test_version_3(tmp_path: Path) -> None:
    folder = tmp_path / "machines" / "dev"
    config = read(folder, config_of(folder))
    assert (config.version, config.driver, config.name) == (3, "virtualbox", "dev")
    assert (config.ip, config.user, config.port) == ("192.168.99.100", "docker", 49153)
    assert config.disk_size == 20000 << 20
    assert config.store_path == str(tmp_path)
    assert [*config.key_candidates()] == [str(folder / "id_rsa")]
    assert dict(config.certificates)["ServerCertPath"] == str(folder / "server.pem")
    assert config.is_readable
    assert config.findings == ()


@pytest.mark.parametrize(("document", "version"), [(V0, 0), (V1, 1), (V2, 2)])
def test_older_versions(document: dict[str, Any], version: int, tmp_path: Path) -> None:
    config = read(tmp_path / "dev", document)
    assert (config.version, config.name, config.user, config.port) == (version, "dev", "docker", 2022)
    assert config.is_readable
    assert config.findings == ()
    if version < 2:
        (candidate,) = config.key_candidates()
        assert Path(candidate).resolve() == Path("/home/me/.docker/machine/machines/dev/id_rsa").resolve()
        assert ("CaCertPath", "/home/me/.docker/machine/certs/ca.pem") in config.certificates


def test_an_empty_key_path_is_normal(tmp_path: Path) -> None:
    folder = tmp_path / "machines" / "dev"
    config = read(folder, config_of(folder, SSHKeyPath=""))
    assert [*config.key_candidates()] == [str(folder / "id_rsa")]


@pytest.mark.parametrize(
    ("data", "finding", "said"),
    [
        (b"", "config-broken", "is empty"),
        (b" \n", "config-broken", "is empty"),
        (b'{"Driver": {"IPAddr', "config-broken", "ends too early"),
        (b'{"Driver": ', "config-broken", "ends too early"),
        (b"not json", "config-broken", "is no JSON"),
        (b"[]", "config-broken", "holds no object but list"),
        (b"null", "config-broken", "holds no object but NoneType"),
        (b"{}", "config-broken", "says nothing of a driver"),
        (b'{"Driver": []}', "config-broken", "wrong type: Driver"),
        (b'{"Driver": {"SSHPort": "22"}}', "config-broken", "wrong type: Driver.SSHPort"),
        (b'{"Driver": {"SSHPort": true}}', "config-broken", "wrong type: Driver.SSHPort"),
        (b'{"Driver": {"a": 1}, "DriverName": 7}', "config-broken", "wrong type: DriverName"),
        (b"\xff\xff{}", "config-broken", "is no UTF-8"),
        (b"[" * 100_000, "config-broken", "is no JSON"),
        (b'{"ConfigVersion": 4, "Driver": {"a": 1}}', "config-version", "has version 4"),
        (b"\xef\xbb\xbf" + b'{"Driver": {"a": 1}}', "config-encoding", "byte order mark"),
        ('{"Driver": {"a": 1}}'.encode("utf-16"), "config-encoding", "byte order mark"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, finding: str, said: str, tmp_path: Path) -> None:
    (found,) = read(tmp_path, data).findings
    assert found.id == finding
    assert said in found.message
    assert found.file == str(tmp_path / "config.json")


def test_a_cut_file_says_where(tmp_path: Path) -> None:
    data = json.dumps({"Driver": {"a": "b" * 100}}).encode()[:50]
    (found,) = read(tmp_path, data).findings
    assert found.offset is not None
    assert found.offset <= 50


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    (found,) = read(tmp_path, b" " * (10 << 20)).findings
    assert found.id == "config-broken"
    assert "too large" in found.message
    assert MAX_SIZE < 10 << 20


def test_no_file(tmp_path: Path) -> None:
    assert [one.id for one in read_config(tmp_path).findings] == ["config-missing"]


def test_a_folder_or_a_link_out_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "one" / "config.json").mkdir(parents=True)
    (tmp_path / "two").mkdir()
    (tmp_path / "secret").write_text('{"Driver": {"MachineName": "secret"}}')
    (tmp_path / "two" / "config.json").symlink_to(tmp_path / "secret")
    for name, said in (("one", "not a regular file"), ("two", "outside of the machine's folder")):
        config = read_config(tmp_path / name)
        assert config.name == ""
        assert said in config.findings[0].message


@pytest.mark.parametrize("path", ["C:\\Users\\me\\id_rsa", "c:/x", "\\\\server\\share\\x"])
def test_paths_of_windows(path: str) -> None:
    assert is_windows(path)
    assert not is_windows("/home/me/id_rsa")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    read(tmp_path, data)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Driver", "HostOptions", "AuthOptions", "DiskSize", "SSHPort", "CaCertPath", "Name"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(values)
@pytest.mark.slow
def test_any_json(tmp_path: Path, document: Any) -> None:
    config = read(tmp_path, json.dumps(document).encode())
    [*config.key_candidates()]
    assert config.findings or config.is_readable
