"""Waiting for a store: how long, how often, and for what not."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from lvray.errors import EnvironmentFault, UseError
from lvray.shards import storage
from lvray.shards.patience import PAUSES, patiently
from tests.faulty import faulty
from tests.weed import Weed


class Time:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now, self.waits = 0.0, list[float]()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.waits.append(seconds)


def failing(error: Exception, times: float) -> Callable[[], str]:
    """Fails so many times, as storage reports that error."""
    left = times

    def do() -> str:
        nonlocal left
        left -= 1
        with storage.faults("read a shard"):
            if left >= 0:
                raise error
        return "done"

    return do


def answer(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")


PASSING: list[Exception] = [
    EndpointConnectionError(endpoint_url="http://x"), answer("InternalError", 500), answer("SlowDown", 503),
    answer("Throttling", 400), OSError("When reading: AWS Error NETWORK_CONNECTION during HeadObject operation"),
    OSError("AWS Error UNKNOWN (HTTP status 503) during GetObject operation")]
LASTING: list[Exception] = [
    NoCredentialsError(), answer("AccessDenied", 403), answer("NoSuchBucket", 404), FileNotFoundError(errno.ENOENT, ""),
    OSError(errno.ENOSPC, "full"), OSError("AWS Error ACCESS_DENIED during GetObject operation")]


@pytest.mark.parametrize("error", PASSING, ids=lambda e: str(e)[:40])
def test_what_passes_is_waited_for(error: Exception) -> None:
    time = Time()
    assert patiently(failing(error, 4), clock=lambda: time.now, wait=time.wait) == "done"
    assert time.waits == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize("error", LASTING, ids=lambda e: str(e)[:40])
def test_what_lasts_is_not(error: Exception) -> None:
    time = Time()
    with pytest.raises(EnvironmentFault):
        patiently(failing(error, 1), clock=lambda: time.now, wait=time.wait)
    assert time.waits == []


def test_patience_ends() -> None:
    time = Time()
    with pytest.raises(EnvironmentFault, match="cannot read a shard"):
        patiently(failing(PASSING[0], float("inf")), clock=lambda: time.now, wait=time.wait, seconds=100)
    assert max(time.waits) == PAUSES[1]
    assert 100 - PAUSES[1] < time.now <= 100


def test_other_errors_are_none_of_its_business() -> None:
    def wrong() -> None:
        raise UseError("damaged")

    with pytest.raises(UseError):
        patiently(wrong)


@pytest.mark.parametrize("fault", ["503 SlowDown", "500 InternalError", "reset"])
def test_a_real_store_that_comes_back(weed: Weed, s3: str, monkeypatch: pytest.MonkeyPatch, fault: Any) -> None:
    """One attempt of each client at a time: all the patience is patiently's."""
    storage.write_atomic(f"{s3}/x", b"here", "x")
    time = Time()
    with faulty(weed.endpoint, fault, times=3) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        for do in (lambda: storage.read_bytes(f"{s3}/x", "x"), lambda: storage.write_atomic(f"{s3}/y", b"z", "y")):
            patiently(do, clock=lambda: time.now, wait=time.wait)
            proxy.times = proxy.seen + 2
    assert time.waits
