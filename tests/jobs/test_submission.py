"""A job at Ray's job server: how it is reached, followed and ended, with a server and a client made up here.

tests/e2e/test_submit.py has real ones.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from ray.job_submission import JobDetails, JobStatus, JobType

from lvray.errors import EnvironmentFault, LvrayError
from lvray.jobs import submission
from lvray.jobs.submission import End, Job


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "ANSWER_SECONDS", 1)
    monkeypatch.setattr(submission, "SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(submission, "POLL_SECONDS", 0.0)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")  # put back after connect() has changed it
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """The URL of a server that answers so, whatever is asked."""
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "body", "says"), [
    (200, b"<html>a page</html>", "no Ray dashboard"), (200, b"{}", "no Ray dashboard"),
    (404, b"not here", "no Ray dashboard"), (500, b"broken", "no Ray dashboard"),
    (403, b"<Error><Code>AccessDenied</Code></Error>", "no Ray dashboard"),
    (401, b"Unauthorized: Missing authentication token", "wants a token: set RAY_AUTH_MODE=token"),
    (403, b"Forbidden: Invalid authentication token", "refuses this token: set RAY_AUTH_TOKEN")])
def test_what_answers_is_no_dashboard_or_wants_another_token(status: int, body: bytes, says: str) -> None:
    with answering(status, body) as url, pytest.raises(EnvironmentFault, match=says) as raised:
        submission.connect(url)
    assert "\n" not in str(raised.value)


def test_a_dashboard_is_reached_whatever_ray_address_says() -> None:
    with answering(200, b'{"ray_version": "2.60.0"}') as url:
        assert submission.connect(url).get_address() == url


def test_nobody_answers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(EnvironmentFault, match="no Ray head answers at --address"):
            submission.connect(f"http://127.0.0.1:{taken.getsockname()[1]}")
        taken.listen()  # takes the connection, and says nothing
        with pytest.raises(EnvironmentFault, match="no Ray head answers at --address"):
            submission.connect(f"http://127.0.0.1:{taken.getsockname()[1]}")


LOG = "one\ntwo\nthree\n"
Connection = list[str | Exception | signal.Signals]


class Head:
    """A job that has written LOG. connections: what each tail of the log brings, then its end; infos: what each
    question after the job is answered with, the last one for ever."""

    def __init__(self, connections: list[Connection], infos: Sequence[JobDetails | Exception]) -> None:
        self._connections, self._infos = connections, list(infos)

    async def tail_job_logs(self, id: str) -> AsyncIterator[str]:
        for part in self._connections.pop(0):
            if isinstance(part, Exception):
                raise part
            if isinstance(part, signal.Signals):
                signal.raise_signal(part)
                await asyncio.sleep(3600)
            else:
                yield part

    def get_job_info(self, id: str) -> JobDetails:
        found = self._infos.pop(0) if len(self._infos) > 1 else self._infos[0]
        if isinstance(found, Exception):
            raise found
        return found


def info(status: JobStatus, exit_code: int | None = None, **more: Any) -> JobDetails:
    return JobDetails(type=JobType.SUBMISSION, status=status, entrypoint="lvray", driver_exit_code=exit_code, **more)


DONE = info(JobStatus.SUCCEEDED, 0)


def followed(head: Any) -> tuple[End, str]:
    shown: list[str] = []
    return Job(head, "a").follow(shown.append), "".join(shown)


def test_the_log_is_shown_to_its_end() -> None:
    assert followed(Head([["one\n", "two\nth", "ree\n"]], [DONE])) == (End("SUCCEEDED", 0), LOG)


@pytest.mark.parametrize("broken", [
    [["one\n", RuntimeError("1006")], [LOG]], [["one\n", "tw", ConnectionResetError()], ["on", "e\ntwo\nthree\n"]],
    [[OSError("no route")], ["one\ntwo\n", OSError()], [LOG]], [["one\n"], [LOG]]])
def test_a_connection_that_breaks_loses_no_line_and_repeats_none(broken: list[Connection]) -> None:
    assert followed(Head(broken, [info(JobStatus.RUNNING)] * (broken == [["one\n"], [LOG]]) + [DONE])) == (
        End("SUCCEEDED", 0), LOG)


def test_following_again_after_an_interruption_goes_on_where_it_was() -> None:
    head: Any = Head([["one\n", signal.SIGINT], [LOG]], [DONE])
    job, shown = Job(head, "a"), list[str]()
    with pytest.raises(KeyboardInterrupt):
        job.follow(shown.append)
    assert job.follow(shown.append) == End("SUCCEEDED", 0)
    assert "".join(shown) == LOG


def test_a_head_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "PATIENCE_SECONDS", 0.2)

    class Away(Head):
        async def tail_job_logs(self, id: str) -> AsyncIterator[str]:
            raise OSError("no route")
            yield

    with pytest.raises(EnvironmentFault, match="the head has been away for 0 s"):
        followed(Away([], [OSError()]))


def test_a_head_without_the_job_is_a_new_one() -> None:
    with pytest.raises(LvrayError, match="knows nothing of the job any more"):
        followed(Head([[]], [RuntimeError("Request failed with status code 404: Job a does not exist")]))


@pytest.mark.parametrize(("details", "code", "why"), [
    (DONE, 0, None), (info(JobStatus.FAILED, 2), 2, None), (info(JobStatus.FAILED, 143), 143, None),
    (info(JobStatus.FAILED, -9), 137, None), (info(JobStatus.STOPPED), 143, None),
    (info(JobStatus.FAILED, error_type="JOB_SUPERVISOR_ACTOR_DIED", message="Unexpected: it died.\n  File x"), 4,
     "Ray could not run the job, or lost it (JOB_SUPERVISOR_ACTOR_DIED: Unexpected: it died.)"),
    (info(JobStatus.FAILED), 4, "Ray could not run the job, or lost it (no reason given)")])
def test_how_a_job_ended(details: JobDetails, code: int, why: str | None) -> None:
    assert followed(Head([[]], [details]))[0] == End(str(details.status), code, why)


@pytest.mark.parametrize("act", [lambda job: job.stop(), lambda job: Job.send(job._client, submission.Order(
    "a", "lvray", {}, {}))])
def test_a_head_that_refuses(act: Callable[[Job], object]) -> None:
    class Refusing(Head):
        def stop_job(self, id: str) -> None:
            raise RuntimeError("Request failed with status code 500: Traceback (most recent call last):\n  File x")

        def submit_job(self, **order: object) -> None:
            self.stop_job("a")

    head: Any = Refusing([], [])
    with pytest.raises(LvrayError) as raised:
        act(Job(head, "a"))
    assert "\n" not in str(raised.value)
