"""The replica that takes requests, and what it is told. No torch: 100 MB less, and a sooner start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import serve

from lvray.serving.desk import Desk
from lvray.serving.keys import Keys
from lvray.serving.listening import on_the_nodes_address_alone
from lvray.serving.web import web
from lvray.settings import Serve, Settings


class Arguments(Settings):
    """Of `build`. seg, reg: URIs of checkpoints. keys: a file on the replicas' machines, else LVRAY_API_KEYS there.
    open: no keys, for a proxy on loopback alone."""

    seg: str | None = None
    reg: str | None = None
    keys: str | None = None
    open: bool = False
    settings: Serve = Serve()


@serve.ingress()
class Reader:
    def __init__(self, given: dict[str, Any], meter: Any, **networks: Any) -> None:
        on_the_nodes_address_alone()
        arguments = Arguments.model_validate(given)
        keys = Keys(Path(arguments.keys) if arguments.keys else None, arguments.open)
        self._desk = Desk(arguments.settings, keys, networks, meter)

    def __serve_build_asgi_app__(self) -> Any:
        return web(self._desk)

    def check_health(self) -> None:
        """Serve replaces a reader whose thread a study will not let go of."""
        if self._desk.worker.stuck:
            raise RuntimeError("a study takes too long to read")
