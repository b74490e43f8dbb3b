from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lits_runtime import Segmenter
from lits_tools.bundled.choose_search import choose_search, effects, main, pairs
from support.files.scans import save
from support.networks.tiny_models import tiny_model

AFFINE = np.diag([-6.0, -6.0, 2.5, 1.0])


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """A liver of 60 mm with a lesion of 15 mm apart from it, on the 22nd to the 27th slice."""
    volume = np.full((20, 18, 80), -900, np.int16)
    volume[4:14, 4:14, 40:64] = 60
    volume[4:8, 4:8, 22:28] = 120
    labels = (volume > 50).astype(np.uint8) + (volume > 100)
    for number, turned in ((1, AFFINE), (2, AFFINE @ np.diag([1, 1, -1, 1]))):
        save(tmp_path / f"volume-{number}.nii.gz", volume, turned)
        save(tmp_path / f"segmentation-{number}.nii.gz", labels, turned)
    return tmp_path


def test_effects_are_those_of_a_run_with_the_search(cases: Path) -> None:
    with Segmenter.open(tiny_model(), provider="cpu") as segmenter:
        found = list(effects(segmenter, pairs(cases), (10, 20)))
    assert [(one.case, one.search_mm) for one in found] == [
        (f"volume-{number}.nii.gz", distance) for number in (1, 2) for distance in (10, 20)
    ]
    for one in found:
        with Segmenter.open(tiny_model({"search_mm": one.search_mm}), provider="cpu") as searching:
            report = searching.segment(cases / one.case).report
        assert one.looked_at == report.slices_looked_at / 80


def test_the_largest_distance_at_which_nothing_is_lost(cases: Path) -> None:
    with Segmenter.open(tiny_model(), provider="cpu") as segmenter:
        found = list(effects(segmenter, pairs(cases), (10, 15, 40)))
    assert choose_search(found) == 15
    lost = [one for one in found if not one.harmless]
    assert [one.search_mm for one in lost] == [40, 40]
    assert {one.changed_voxels for one in lost} == {4 * 4 * 6}
    assert {one.fall["lesion"] for one in lost} == {1.0}


def test_the_table_has_a_row_for_each_distance(cases: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(tiny_model())
    result = CliRunner().invoke(main, [str(tmp_path / "model.onnx"), str(cases)])
    assert result.exit_code == 0, result.output
    rows = [line.split(" | ")[0] for line in result.stdout.splitlines()[2:-1]]
    assert rows == ["| 10", "| 15", "| 20", "| 25", "| 30", "| 40"]
    assert result.stdout.splitlines()[-1].startswith("search_mm: ")
