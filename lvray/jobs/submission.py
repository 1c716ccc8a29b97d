"""Ray's job server: a command sent there, its log followed, its end awaited. What goes wrong is one line."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from lvray.errors import EnvironmentFault, LvrayError

ANSWER_SECONDS = 20
"""In which the head must take a connection, and then answer."""
SILENCE_SECONDS = 15.0
"""Without a line of the log, after which the head is asked whether it is still there."""
PATIENCE_SECONDS = 60.0
"""That a head may be away while a job is followed."""
POLL_SECONDS = 0.5
NO_DASHBOARD = "what answers at --address is no Ray dashboard: check the URL"
SIGNALLED = 128
"""What a shell adds to a signal's number."""
LOGGERS = ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging",
           "ray._private.authentication.http_token_authentication")

Emit = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What is to be run. entrypoint: a line for the shell; metadata and runtime_env stand on the dashboard."""

    id: str
    entrypoint: str
    metadata: dict[str, str]
    runtime_env: dict[str, Any]


@dataclass(frozen=True)
class End:
    """How a job ended. exit_code: the command's own; why: where it could not be run or was lost."""

    status: str
    exit_code: int
    why: str | None = None


class Client(JobSubmissionClient):
    """Ray's own, whose requests come to an end."""

    def _do_request(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._do_request(*args, timeout=ANSWER_SECONDS, **kwargs)
        except AuthenticationError as error:
            raise EnvironmentFault(_token(str(error))) from error
        except OSError as error:
            raise EnvironmentFault("no Ray head answers at --address: is the cluster up, and its dashboard's port"
                                   " (8265) open to this machine?") from error


def connect(address: str) -> Client:
    """A client of the dashboard at a URL. EnvironmentFault: it does not answer, or wants another token."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        os.environ.pop("RAY_API_SERVER_ADDRESS", None)
        os.environ["RAY_ADDRESS"] = address  # which Ray heeds more than an argument
        return Client(address)
    except LvrayError:
        raise
    except AuthenticationError as error:
        raise EnvironmentFault(_token(str(error))) from error
    except Exception as error:  # whatever a web page that is no dashboard leads the client to
        raise EnvironmentFault(NO_DASHBOARD) from error


class Job:
    """One that has been sent. `follow` may be interrupted and called again."""

    def __init__(self, client: Client, id: str) -> None:
        self._client, self.id = client, id
        self._shown = 0
        self._heard = time.monotonic()

    @classmethod
    def send(cls, client: Client, order: Order) -> Job:
        """LvrayError: the head refuses it. EnvironmentFault: the head is gone."""
        try:
            client.submit_job(entrypoint=order.entrypoint, submission_id=order.id, metadata=order.metadata,
                              runtime_env=order.runtime_env)
        except RuntimeError as error:
            raise LvrayError(f"the head does not take the job: {_first_line(error)}") from error
        return cls(client, order.id)

    def stop(self) -> None:
        """Have Ray send the command SIGTERM; it saves, then ends."""
        try:
            self._client.stop_job(self.id)
        except RuntimeError as error:
            raise LvrayError(f"the job cannot be stopped: {_first_line(error)}") from error

    def follow(self, emit: Emit) -> End:
        """Emit the log, from where the last call left off, until the job has ended. A connection that breaks is made
        anew. EnvironmentFault: the head does not come back. LvrayError: it has forgotten the job."""
        self._heard = time.monotonic()
        while True:
            try:
                asyncio.run(self._tail(emit))
                details = self._details()
            except _Forgotten:
                raise
            except Exception as error:  # of the connection, in whatever library
                if time.monotonic() - self._heard > PATIENCE_SECONDS:
                    raise EnvironmentFault(f"the head has been away for {PATIENCE_SECONDS:.0f} s, and the job may be"
                                           " lost: the same command goes on from what it has saved") from error
            else:
                if details.status.is_terminal():
                    return _end(details)
            time.sleep(POLL_SECONDS)

    def _details(self) -> JobDetails:
        try:
            found = self._client.get_job_info(self.id)
        except RuntimeError as error:
            if "404" in str(error):
                raise _Forgotten("the head knows nothing of the job any more, as it does when it was started anew: the"
                                 " same command goes on from what it has saved") from error
            raise
        self._heard = time.monotonic()
        return found

    async def _tail(self, emit: Emit) -> None:
        """The log from its beginning, less what has been shown."""
        skip = self._shown
        lines = self._client.tail_job_logs(self.id)
        waiting = asyncio.ensure_future(anext(lines, None))
        while True:
            await asyncio.wait({waiting}, timeout=SILENCE_SECONDS)
            if not waiting.done():
                await asyncio.to_thread(self._details)
                continue
            text = waiting.result()
            if text is None:
                return
            self._heard = time.monotonic()
            fresh, skip = text[skip:], max(0, skip - len(text))
            if fresh:
                self._shown += len(fresh)
                emit(fresh)
            waiting = asyncio.ensure_future(anext(lines, None))


class _Forgotten(LvrayError):
    """The head has no such job."""


def _end(details: JobDetails) -> End:
    code, status = details.driver_exit_code, str(details.status)
    if details.status == JobStatus.STOPPED:
        return End(status, SIGNALLED + signal.SIGTERM)
    if code is None:
        what = ": ".join(filter(None, [details.error_type, _first_line(details.message or "")])) or "no reason given"
        return End(status, EnvironmentFault.exit_code, f"Ray could not run the job, or lost it ({what})")
    return End(status, code if code >= 0 else SIGNALLED - code)


def _token(said: str) -> str:
    """What is wrong between two settings of RAY_AUTH_MODE, of what Ray's client says: the answer, then its own text."""
    if "authentication token" not in said.partition("\n\n")[0]:
        return NO_DASHBOARD
    if said.startswith("Authentication failed"):
        return "the head refuses this token: set RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to the cluster's own"
    return ("the head wants a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) as the cluster"
            " has them")


def _first_line(said: object) -> str:
    return next((line.strip() for line in str(said).splitlines() if line.strip()), "")[:200]
