"""As much of an MLflow server as a run needs: experiments, runs, parameters, metrics, all in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Held:
    """One run of the server."""

    name: str
    status: str = "RUNNING"
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, int, float]] = field(default_factory=list)
    """Name, step, value."""


@dataclass
class MlflowServer:
    """uri: for MLFLOW_TRACKING_URI. down: it answers 500 to everything; asked: every request's endpoint."""

    uri: str = ""
    experiments: dict[str, str] = field(default_factory=dict)
    runs: dict[str, Held] = field(default_factory=dict)
    down: bool = False
    asked: list[str] = field(default_factory=list)

    def answer(self, endpoint: str, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body. https://mlflow.org/docs/latest/rest-api.html"""
        self.asked.append(endpoint)
        if self.down:
            return 500, {"error_code": "INTERNAL_ERROR", "message": "down"}
        run = self.runs.get(sent.get("run_id", ""))
        match endpoint:
            case "experiments/get-by-name":
                number = self.experiments.get(sent["experiment_name"])
                if number is None:
                    return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}
                return 200, {"experiment": {"experiment_id": number, "name": sent["experiment_name"]}}
            case "experiments/create":
                self.experiments[sent["name"]] = str(len(self.experiments) + 1)
                return 200, {"experiment_id": self.experiments[sent["name"]]}
            case "runs/create":
                called = f"run{len(self.runs) + 1}"
                tags = {tag["key"]: tag["value"] for tag in sent.get("tags", [])}
                self.runs[called] = Held(sent["run_name"], tags=tags)
                return 200, {"run": {"info": {"run_id": called, "status": "RUNNING"}, "data": {}}}
            case "runs/get" if run is not None:
                return 200, {"run": {"info": {"run_id": sent["run_id"], "status": run.status}, "data": {}}}
            case "runs/update" if run is not None:
                run.status = sent["status"]
                return 200, {"run_info": {"run_id": sent["run_id"], "status": run.status}}
            case "runs/log-batch" if run is not None:
                run.params |= {param["key"]: param["value"] for param in sent.get("params", [])}
                run.metrics += [(m["key"], int(m.get("step", 0)), m["value"]) for m in sent.get("metrics", [])]
                return 200, {}
            case "metrics/get-history" if run is not None:
                points = [{"key": name, "step": step, "value": value, "timestamp": 0}
                          for name, step, value in run.metrics if name == sent["metric_key"]]
                return 200, {"metrics": points}
        return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": endpoint}


@contextmanager
def serving() -> Iterator[MlflowServer]:
    held = MlflowServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(dict(parse_qsl(urlsplit(self.path).query)))

        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _reply(self, sent: dict[str, Any]) -> None:
            endpoint = urlsplit(self.path).path.removeprefix("/api/2.0/mlflow/")
            status, body = held.answer(endpoint, sent)
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        held.uri = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield held
        server.shutdown()
        thread.join()
