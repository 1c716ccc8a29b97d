from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lvray.errors import EnvironmentFault, UseError
from lvray.shards.identity import fingerprint, keyed, load_key

KEY = b"0123456789abcdef"


def test_hashes_differ_by_key_kind_and_text() -> None:
    hashes = [keyed(KEY, "participant", "1"), keyed(KEY, "study", "1"), keyed(KEY, "source", "1"),
              keyed(KEY, "participant", "2"), keyed(KEY + b"x", "participant", "1")]
    assert len(set(hashes)) == 5
    assert {len(h) for h in hashes} == {32}
    assert keyed(KEY, "participant", "1") == "c12b5dfcc1effa17f18852d179657c1c"  # as openssl has it
    assert len(fingerprint(KEY)) == 16


def test_file_comes_before_the_variable(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(KEY + b"\n")
    env = {"LVRAY_KEY": "another key, long enough", "HOME": str(tmp_path)}
    assert load_key(file, env, "s3://b/x") == KEY
    assert load_key(None, env, "s3://b/x") == b"another key, long enough"
    assert list(tmp_path.iterdir()) == [file]


def test_own_key_is_made_once_and_private(tmp_path: Path) -> None:
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_key(None, env, "file:///data"), range(16)))
    assert keys == {load_key(None, env, None)}
    assert [p.name for p in (tmp_path / "lvray").iterdir()] == ["key"]
    assert stat.S_IMODE((tmp_path / "lvray" / "key").stat().st_mode) == 0o600


def test_never_made_for_an_object_store(tmp_path: Path) -> None:
    with pytest.raises(UseError, match="--key FILE or set LVRAY_KEY"):
        load_key(None, {"HOME": str(tmp_path)}, "s3://bucket/x")
    assert list(tmp_path.iterdir()) == []


def test_bad_keys(tmp_path: Path) -> None:
    with pytest.raises(UseError, match="LVRAY_KEY: a key of 5 bytes is too short"):
        load_key(None, {"LVRAY_KEY": "short"}, None)
    with pytest.raises(UseError, match="cannot read the key file: No such file"):
        load_key(tmp_path / "absent", {}, None)
    (tmp_path / "config").touch()
    with pytest.raises(EnvironmentFault, match="cannot keep a key"):
        load_key(None, {"XDG_CONFIG_HOME": str(tmp_path / "config")}, None)
