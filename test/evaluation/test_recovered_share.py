import numpy as np
import pytest

from sam_adapt_ros.evaluation.recovered_share import recovered


def test_nothing_is_recovered_where_nothing_was_lost() -> None:
    assert recovered(0.5, 0.6, 0.7) == pytest.approx(0.5)
    assert np.isnan(recovered(0.7, 0.7, 0.7))
