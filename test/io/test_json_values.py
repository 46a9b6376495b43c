import json
from pathlib import Path

import numpy as np

from sam_adapt_ros.io.json_values import json_values


def test_whatever_is_given_json_can_hold() -> None:
    values = {
        "array": np.array([[0.5, np.nan], [np.inf, 1]]),
        "scalars": (np.float32(0.5), np.True_, np.int64(3)),
        "plain": [None, True, 1, 0.25, "text"],
        "path": Path("some/file"),
        3: {"set": {1}},
    }
    expected = {
        "array": [[0.5, None], [None, 1.0]],
        "scalars": [0.5, True, 3],
        "plain": [None, True, 1, 0.25, "text"],
        "path": "some/file",
        "3": {"set": [1]},
    }
    assert json.loads(json.dumps(json_values(values), allow_nan=False)) == expected
