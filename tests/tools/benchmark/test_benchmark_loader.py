from pathlib import Path

import pytest

from lits_tools.benchmark.loader import LoaderBenchmark
from lits_train.settings.recipe import BASELINE

pytestmark = pytest.mark.slow


def test_every_figure_is_measured(phantom_folder: Path, tmp_path: Path) -> None:
    recipe = BASELINE.override(size=32, batch_size=4)
    benchmark = LoaderBenchmark(phantom_folder, tmp_path, recipe, steps=2, turns=2, items=2)
    figures = benchmark.measure()
    assert {figure.bound for figure in figures} == {"", "at least 0.9", "at least 20"}
    assert len({figure.name for figure in figures}) == len(figures) == 9
    assert all(figure.value > 0 for figure in figures)
