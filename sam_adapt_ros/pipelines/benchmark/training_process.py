"""One of the processes that train a benchmark's model together: it makes the same plan of the values that it is given.

Started by ``torchrun.train_in_processes``; it ends with the benchmark, so that no other one finds it at work.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from sam_adapt_ros.config.benchmark import BenchmarkConfig
from sam_adapt_ros.errors import SamAdaptError
from sam_adapt_ros.parallel.driver import end_with
from sam_adapt_ros.pipelines.benchmark.run import make_plan
from sam_adapt_ros.progress import no_progress


def main(path: str) -> None:
    """path: of the request, as JSON. Raises what training raises."""
    request: dict[str, Any] = json.loads(Path(path).read_bytes())
    end_with(request["driver"])
    options = request["plan"]
    plan = make_plan(
        BenchmarkConfig.model_validate(options.pop("config")),
        options.pop("setting"),
        options.pop("data"),
        weights=Path(weights) if (weights := options.pop("weights")) else None,
        **options,
    )
    inputs = {name: Path(folder) for name, folder in request["inputs"].items()}
    plan.train(request["model"], Path(request["folder"]), inputs, no_progress, devices=0)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("sam_adapt_ros").setLevel(logging.INFO)
    try:
        main(sys.argv[1])
    except SamAdaptError as error:
        sys.exit(f"error: {error}")
