"""Validation at full resolution: as the runtime does it, interrupted, of all kinds of cases."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lits_runtime.cleanup.clean_up import cleaned_up
from lits_runtime.labels import MASKS
from lits_runtime.segment.slabs.inference import labels_from
from lits_runtime.segment.slabs.liver_search import searched
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.label_volume import read_labels
from lits_runtime.volumes.scan import Scan
from lits_train.data.cases import find_cases
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.network.slab_segmenter import SlabSegmenter
from lits_train.prepared.convert import prepare
from lits_train.prepared.slices import open_cases
from lits_train.prepared.write_case import write_case as write_prepared
from lits_train.run.distributed import World
from lits_train.settings.recipe import DEFAULT
from lits_train.validation.candidates import candidates
from lits_train.validation.full_resolution import FullScores, validate_fully
from lits_train.validation.labeller import NetworkLabeller, Thresholds
from lits_train.validation.score_case import looked_at
from support.files.cases import write_case

WORLD = World(torch.device("cpu"))


class Bright:
    """Calls voxels liver or lesion by their HU; no network."""

    classes: tuple[str, ...] = ("liver", "lesion")
    thresholds: Thresholds = (0.5, 0.5)
    context_slices = 1

    def __init__(self, name: str = "one") -> None:
        self.name, self.slabs = name, 0

    def probability(self, slab_hu: NDArray[np.float32]) -> NDArray[np.float32]:
        self.slabs += 1
        own = slab_hu[1:-1]
        return np.clip(np.stack([own / 200, own / 400], axis=1), 0, 1).astype(np.float32)

    def digest(self) -> str:
        return self.name


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four cases of five slices, in three slabs each: 3 is not marked, 4 has no lesion."""
    monkeypatch.setattr("lits_train.validation.volumes.SLAB", 2)
    for case_id, codes in (("1", "LPS"), ("2", "RAS"), ("3", "LPI")):
        write_case(tmp_path / "data", case_id, codes=codes)
    write_case(tmp_path / "data", "4", labels=1)
    (tmp_path / "data/cases.json").write_text('{"liver_only": ["3"]}')
    return tmp_path / "data"


def scored(data: Path, folder: Path, labeller: Bright) -> FullScores:
    scores = validate_fully(labeller, open_cases(data), folder, WORLD)
    assert scores is not None
    return scores


def test_scores_are_those_of_the_runtime_s_labels(data: Path, tmp_path: Path) -> None:
    scores = scored(data, tmp_path, Bright())
    compared = candidates(Bright.classes, Bright.thresholds)
    assert [case.case_id for case in scores.cases] == ["1", "2", "3", "4"]
    for case in scores.cases:
        scan = Scan.open(data / f"volume-{case.case_id}.nii")
        gt = read_labels(data / f"segmentation-{case.case_id}.nii").labels
        slab = scan.read_slab(0, len(gt), 1)
        for index in (0, 1, 3, 5, 9, 49):
            one = compared[index]
            raw = labels_from(Bright().probability(slab), one.thresholds, (1, 2))
            ((_, labels),) = cleaned_up([(0, raw)], scan.geometry, one.postprocessing)
            for name, mask in MASKS.items():
                pred, true, dice = mask(labels), mask(gt), case.dice(index)[name]
                if name == "lesion" and case.case_id in ("3", "4"):
                    assert dice is None
                else:
                    expected = 2 * (pred & true).sum() / (pred.sum() + true.sum())
                    assert dice == pytest.approx(expected)
    healthy, unknown = scores.cases[3], scores.cases[2]
    assert healthy.false_ml(0) == pytest.approx(healthy.lesion_ml(0)) and healthy.lesion_ml(0) > 0
    assert unknown.false_ml(0) is None and unknown.lesion_ml(0) > 0
    assert scores.inference == compared[0], "four cases choose nothing"
    assert scores.to_json()["at_full_resolution"] == 4


def test_an_interrupted_validation_goes_on_with_the_cases_that_are_left(
    data: Path, tmp_path: Path
) -> None:
    first, asked = Bright(), 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 12

    cases = open_cases(data)
    assert validate_fully(first, cases, tmp_path / "kept", WORLD, stop) is None
    assert 3 < first.slabs < 12
    second = Bright()
    scores = scored(data, tmp_path / "kept", second)
    assert 0 < second.slabs < 12
    assert scores.to_json() == scored(data, tmp_path / "other", Bright()).to_json()
    third = Bright("other weights")
    scored(data, tmp_path / "kept", third)
    assert third.slabs == 12
    (tmp_path / "kept/1.json").write_text("{")
    fourth = Bright("other weights")
    scored(data, tmp_path / "kept", fourth)
    assert fourth.slabs == 3


def test_prepared_cases_are_read_from_their_files_or_else_at_working_size(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = tmp_path / "prepared"
    prepare(find_cases(data), prepared, 32)
    pictures = np.zeros((2, 32, 32))
    write_prepared(
        prepared, "pictures", pictures, pictures, spacing_mm=(1.0, 1.0, 1.0), adjacent=False
    )
    write_prepared(prepared, "arrays", pictures, pictures, spacing_mm=(1.0, 1.0, 1.0))
    scores = scored(prepared, tmp_path / "kept", Bright())
    full = {case.case_id: case.full_resolution for case in scores.cases}
    assert full == {"1": True, "2": True, "3": True, "4": True, "arrays": False}
    direct = scored(data, tmp_path / "direct", Bright())
    assert [case.to_json() for case in scores.cases[:4]] == [
        case.to_json() for case in direct.cases
    ]
    (data / "volume-2.nii").unlink()
    with caplog.at_level(logging.WARNING):
        again = scored(prepared, tmp_path / "again", Bright())
    assert [case.full_resolution for case in again.cases] == [True, False, True, True, False]
    assert "case 2 is validated at working size, because its files are not usable" in caplog.text
    alone = [case for case in open_cases(prepared) if case.case_id == "pictures"]
    nothing = validate_fully(Bright(), alone, tmp_path / "none", WORLD)
    assert nothing is not None and not nothing.cases and nothing.text()
    assert nothing.inference == candidates(Bright.classes, Bright.thresholds)[0]
    assert "no validation case is a volume" in caplog.text


def test_a_network_labels_as_the_module_that_is_exported() -> None:
    recipe = DEFAULT.override(size=32, thresholds=(0.4, 0.5))
    torch.manual_seed(0)
    segmenter = SlabSegmenter(recipe, SegmentationNetwork(recipe).eval()).eval()
    labeller = NetworkLabeller(segmenter)
    slab_hu = np.random.default_rng(0).uniform(-100, 200, (5, 40, 48)).astype(np.float32)
    probability = labeller.probability(slab_hu)
    found = {key: labels_from(probability, key, (1, 2)) for key in [(0.4, 0.5), (0.5, 0.5)]}
    with torch.no_grad():
        expected, _ = segmenter(torch.from_numpy(slab_hu))
    np.testing.assert_array_equal(found[0.4, 0.5], expected.numpy())
    assert (found[0.5, 0.5] != found[0.4, 0.5]).any()
    other = SlabSegmenter(recipe, SegmentationNetwork(recipe).eval()).eval()
    assert NetworkLabeller(other).digest() != labeller.digest()
    moved = SlabSegmenter(replace(recipe, thresholds=(0.5, 0.5)), segmenter.network)
    assert NetworkLabeller(moved).digest() != labeller.digest()


@pytest.mark.parametrize("search_mm", [0.0, 5.0, 7.5, 10.0, 30.0])
def test_slices_that_a_search_keeps_are_the_runtime_s(search_mm: float) -> None:
    rng = np.random.default_rng(int(search_mm))
    geometry = Geometry((4, 4, 40), np.diag([10.0, 10.0, 2.5, 1.0]))  # a pixel is what counts
    present = rng.random(40) < 0.2
    labels = np.zeros((40, 4, 4), np.uint8)
    labels[present, 1, 1] = 1
    left = searched(labels, geometry, search_mm).any(axis=(1, 2))
    np.testing.assert_array_equal(left, present & looked_at(present, geometry, search_mm))
