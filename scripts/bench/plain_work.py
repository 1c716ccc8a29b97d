"""What every side of serve.py does with a study: read it, pass it through the network, measure."""

from __future__ import annotations

import io
from typing import Any

from lvray.cmr.archive import zip_members
from lvray.cmr.study import read_cine
from lvray.estimate import predict
from lvray.nets.predict import Predictor


def answer(body: bytes, by: Predictor) -> dict[str, Any]:
    return predict(read_cine(zip_members(io.BytesIO(body))), by).to_dict()
