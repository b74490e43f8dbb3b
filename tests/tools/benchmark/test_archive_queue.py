"""The simulated queue, against cases worked out by hand."""

import numpy as np
import pytest

from lits_tools.benchmark.archive_queue import Scans, like_lits, outlook


def test_free_workers_take_the_next_scan() -> None:
    scans = Scans(np.array([30.0, 10, 10, 10]), np.zeros(4))
    found = outlook(scans, 2, 100, 100)
    assert found.hours * 3600 == pytest.approx(5 + 30)
    assert found.busy == pytest.approx(60 / (2 * 35))


def test_a_narrow_store_decides() -> None:
    scans = Scans(np.full(100, 1.0), np.full(100, 125.0))
    assert outlook(scans, 10, 1, 10).hours * 3600 == pytest.approx(5 + 100)  # 1 Gbit/s, 100 Gbit
    assert outlook(scans, 10, 100, 10).hours * 3600 == pytest.approx(5 + 10)


def test_scans_like_those_of_lits() -> None:
    scans = like_lits(20_000, 0.5)
    slices = scans.seconds / 0.5
    assert slices.min() == 74
    assert slices.max() == 987
    assert slices.mean() == pytest.approx(447.6, rel=0.04)
