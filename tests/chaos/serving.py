"""The service with a Ray of its own: python -m tests.chaos.serving ARGUMENTS PORT. For each line on stdin, a URI, that
checkpoint is rolled in."""

from __future__ import annotations

import sys

from ray import serve

from lvray.jobs.cluster import cluster
from lvray.serving import app
from lvray.serving.reader import Arguments


def main() -> None:
    asked, port = Arguments.model_validate_json(sys.argv[1]), int(sys.argv[2])
    out = sys.stdout  # inside, it is stderr
    with cluster():
        print(app.start(asked, port=port), file=out, flush=True)
        for line in sys.stdin:
            serve.run(app.build(asked.model_copy(update={"seg": line.strip()})), name=app.NAME,
                      logging_config=app.NO_ACCESS_LOG)
            print("rolled", file=out, flush=True)


if __name__ == "__main__":
    main()
