"""A study's bytes in; the HTTP status and the JSON of the answer out."""

from __future__ import annotations

import io
import logging
from typing import Any

from lvray.cmr.archive import zip_members
from lvray.cmr.study import read_cine
from lvray.errors import StudyRefused, internal
from lvray.estimate import predict
from lvray.nets.predict import load
from lvray.shards.folders import local

log = logging.getLogger("ray.serve")


class Model:
    """The network of the checkpoint at a URI. CheckpointError, EnvironmentFault: it cannot be loaded."""

    def __init__(self, checkpoint: str) -> None:
        with local(checkpoint, "the checkpoint") as folder:
            self._predictor = load(folder)

    def estimate(self, study: bytes) -> tuple[int, dict[str, Any]]:
        """(200, the estimate), (422, {"refused": reason code, "detail": line}) or (500, {"detail": line}).

        Never raises: Serve would log the traceback, and messages of zipfile and pydicom hold file names and ids.
        """
        try:
            return 200, predict(read_cine(zip_members(io.BytesIO(study))), self._predictor).to_dict()
        except StudyRefused as e:
            return 422, {"refused": e.reason, "detail": e.detail}
        except Exception as e:
            log.error(internal(e))
            return 500, {"detail": internal(e)}
