"""Who gets in, and how often."""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from pathlib import Path

import httpx
import pytest

from lvray.errors import UseError
from lvray.serving.app import arguments
from lvray.serving.desk import Desk
from lvray.serving.keys import VARIABLE, Keys, Rate
from lvray.serving.problems import Problem
from lvray.settings import Serve
from tests.serving.within import ask

ONE, TWO, SHORT, HASHED = "the first key of all", "the second key, newer", "short", "sixteen-and-more#a-part-of-it"


def admitted(keys: Keys, authorization: str | None) -> bool:
    with suppress(Problem):
        return keys.admit(authorization, "anywhere:8000") is not None
    with pytest.raises(Problem) as refused:
        keys.admit(authorization, "anywhere:8000")
    assert (refused.value.status, refused.value.headers) == (401, {"WWW-Authenticate": "Bearer"})
    assert "key of all" not in refused.value.detail
    return False


def write(file: Path, text: str, second: int) -> None:
    """second: of its modification, so that no clock decides whether it has changed."""
    file.write_text(text)
    os.utime(file, (second, second))


def test_keys_come_and_go_without_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    keys = Keys(file)
    assert not admitted(keys, f"Bearer {ONE}")
    write(file, f"# of the ward\n{ONE}  # until May\n\n{HASHED}\n", 1)
    keys.check()
    assert admitted(keys, f"Bearer {HASHED}")
    assert not admitted(keys, f"Bearer {HASHED.partition('#')[0]}")
    assert admitted(keys, f"Bearer {ONE}")
    assert admitted(keys, f"bearer {ONE}")
    for wrong in (None, "", "Bearer", "Bearer ", f"Basic {ONE}", ONE, f"Bearer {TWO}", f"Bearer {SHORT}", "Bearer é"):
        assert not admitted(keys, wrong)
    write(file, f"{ONE}\n{TWO}\n", 2)
    assert admitted(keys, f"Bearer {ONE}")
    assert admitted(keys, f"Bearer {TWO}")
    write(file, f"{TWO}\n", 3)
    assert not admitted(keys, f"Bearer {ONE}")
    file.unlink()
    assert not admitted(keys, f"Bearer {TWO}")
    with pytest.raises(UseError, match="cannot be read"):
        keys.check()


@pytest.mark.parametrize("env", [{VARIABLE: SHORT}, {VARIABLE: f"aaaaaaaaaaaaaaaa {SHORT}"}])
def test_a_key_that_lets_nobody_in_is_told_before_the_start(env: dict[str, str], tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, env[VARIABLE])
    with pytest.raises(UseError, match="LVRAY_API_KEYS holds a key that is too short"):
        arguments([], None, "127.0.0.1", Serve())
    (tmp_path / "keys").write_text(f"{ONE}\n{SHORT}\n")
    with pytest.raises(UseError, match="the file of --keys holds a key that is too short"):
        Keys(tmp_path / "keys").check()


def test_keys_of_the_environment() -> None:
    keys = Keys(env={VARIABLE: "aaaaaaaaaaaaaaaa,bbbbbbbbbbbbbbbb cccccccccccccccc"})
    assert all(admitted(keys, f"Bearer {letter * 16}") for letter in "abc")
    assert not admitted(Keys(env={}), "Bearer ")
    assert Keys(env={VARIABLE: ONE.replace(" ", "")}).admit(f"Bearer {ONE.replace(' ', '')}", None) != ONE


@pytest.mark.parametrize(("host", "gets_in"), [
    ("127.0.0.1:8000", True), ("localhost", True), ("LOCALHOST:1", True), ("[::1]:8000", True), ("[::1]", True),
    ("[]127.0.0.1", False), ("127.0.0.1:80@evil.example", False), ("[", False), ("evil.example", False),
    ("evil.example:8000", False), ("127.0.0.1.evil.example", False), (None, False),
    ("", False)])
def test_without_keys_a_page_of_another_name_gets_nothing(host: str | None, gets_in: bool) -> None:
    if gets_in:
        assert Keys(open=True).admit(None, host) is None
    else:
        with pytest.raises(Problem, match="loopback"):
            Keys(open=True).admit(None, host)


@pytest.mark.parametrize(("origin", "peer", "gets_in"), [
    ("http://127.0.0.1:8000", "127.0.0.1", True), (None, "127.0.0.2", True),
    ("http://evil.example", "127.0.0.1", False), ("null", "127.0.0.1", False), (None, "192.0.2.1", False),
    (None, "what a header said", False)])
def test_without_keys_neither_others_pages_nor_other_machines_may_ask(origin: str | None, peer: str,
                                                                      gets_in: bool) -> None:
    with nullcontext() if gets_in else pytest.raises(Problem, match="loopback"):
        assert Keys(open=True).admit(None, "localhost", origin, peer) is None


def test_a_bucket_fills_up_again() -> None:
    now = [0.0]
    rate = Rate(60, lambda: now[0])
    for _ in range(60):
        rate.take("a")
    with pytest.raises(Problem, match="more than 60 requests a minute") as refused:
        rate.take("a")
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "2"})
    rate.take("b")
    now[0] = 1.0
    rate.take("a")
    with pytest.raises(Problem):
        rate.take("a")


def test_what_asks_for_a_key_and_what_does_not(checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(ONE)

    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        key = {"Authorization": f"Bearer {ONE}"}
        for path in ("/v1/models", "/metrics"):
            assert (await client.get(path)).status_code == 401
            assert (await client.get(path, headers=key)).status_code == 200
        assert (await client.post("/v1/estimate", content=b"PK\x03\x04")).status_code == 401
        assert [(await client.get(path)).status_code for path in ("/healthz", "/readyz", "/openapi.json")] == [200] * 3
        assert (await client.get("/v1/models", headers=key)).status_code == 429
        file.unlink()
        assert (await client.get("/readyz")).status_code == 503

    ask(scenario, {"seg": [checkpoint]}, Keys(file), **Serve(per_minute=2).model_dump(include={"per_minute"}))
