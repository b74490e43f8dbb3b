"""The search for the liver gives, slab by slab, what its definition gives of all labels."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from lits_runtime import Options, Segmenter, VolumeError
from lits_runtime.segment.slabs import liver_search
from lits_runtime.segment.slabs.findings import ExaminedSlab
from lits_runtime.segment.slabs.inference import Inference, SlabResult
from lits_runtime.segment.slabs.liver_search import LiverSearch, searched, slab_size, step_of
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.scan import Scan
from support.networks.tiny_models import tiny_model
from support.slices_left_out import ALL_SLICES, affine_of, blobs, open_model


def test_what_lies_between_two_slices_without_liver_is_background() -> None:
    volume = np.full((12, 11, 30), -900, np.int16)
    volume[2:6, 2:6, 10:15] = 60  # 16 pixels of 36 mm2
    volume[4, 4, 12] = 120
    volume[2:6, 2:6, 17:20] = 60  # between 16 and 20
    volume[0, 0, 4] = volume[0, 0, 6] = 60  # a speck in a slice looked at, and one beside it
    with open_model(search_mm=10) as segmenter:
        result = segmenter.segment((volume, affine_of(2.5)))
        whole = segmenter.segment((volume, affine_of(2.5)), ALL_SLICES)
    expected = whole.labels.copy()
    expected[..., 17:20] = 0
    expected[0, 0, 6] = 0
    np.testing.assert_array_equal(result.labels, expected)
    # 0, 4, ... 28 and 29; 9 to 11 and 13 to 15 beside the liver at 12
    assert result.report.slices_looked_at == 9 + 6
    assert whole.report.slices_looked_at == 30
    assert result.report.applied["search_mm"] == 10
    assert whole.report.applied["search_mm"] == 0
    assert result.warnings == whole.warnings[:1]  # of the values; the liver is in fewer parts


def test_slices_looked_at_are_no_further_apart_than_the_model_says() -> None:
    for spacing_mm in (0.3, 0.625, 0.7, 1.0, 2.5, 5.0, 10.0, 12.0):
        for search_mm in (0.0, 10.0, 20.0, 30.0):
            step = step_of(Geometry((64, 64, 1000), affine_of(spacing_mm)), search_mm)
            assert step == 1 or step * spacing_mm <= search_mm + 0.01
            assert (step + 1) * spacing_mm > search_mm - 0.01
    plane = (512, 512)
    assert step_of(Geometry((*plane, 1000), affine_of(0.3)), 40) == 16
    assert step_of(Geometry((2048, 2048, 1000), affine_of(1.0)), 40) == 1
    assert [step_of(Geometry((*plane, n), affine_of(5.0)), 20) for n in (1, 2, 4, 5, 6)] == [
        *(1, 1, 1, 1, 4)
    ]
    tilted = np.array([[-1.0, 0, 0, 0], [0, -1, 1.0, 0], [0, 0, 1.9, 0], [0, 0, 0, 1]])
    assert step_of(Geometry((64, 64, 99), tilted), 10) == 4  # 2.15 mm along the slices
    assert [slab_size(step, 3) for step in (2, 3, 4, 5, 8, 20)] == [1, 2, 3, 2, 3, 3]


def test_where_every_slice_is_looked_at_nothing_changes() -> None:
    scan = blobs(30, 1), affine_of(10.0)
    for search_mm in (0.0, 5.0, 10.0, 19.0):
        with open_model(search_mm, context_slices=1) as segmenter:
            result = segmenter.segment(scan)
            np.testing.assert_array_equal(result.labels, segmenter.segment(scan, ALL_SLICES).labels)
            assert result.report.slices_looked_at == 30


def test_averaged_and_thresholded_labels_are_searched_alike() -> None:
    metadata: dict[str, object] = {"search_mm": 15, "settings": {"tta": ["flip_columns"]}}
    scan = blobs(40, 5), affine_of(2.5)
    options = Options(tta=True, thresholds={"liver": 0.9})
    with Segmenter.open(tiny_model(metadata), provider="cpu") as segmenter:
        whole = segmenter.segment(scan, Options(tta=True, thresholds={"liver": 0.9}, search=False))
        result = segmenter.segment(scan, options)
    assert (whole.labels != result.labels).any()
    canonical = result.geometry.to_canonical(whole.labels)
    left = searched(canonical, result.geometry, 15)
    np.testing.assert_array_equal(result.geometry.to_canonical(result.labels), left)


def test_values_of_slices_left_out_are_looked_at_all_the_same() -> None:
    volume = blobs(40, 5).astype(np.float32)
    volume[5, 5, :] = -900
    with open_model(15) as segmenter:
        found = segmenter.segment((volume, affine_of(2.5)))
        (background,) = (
            np.setdiff1d(np.flatnonzero(~found.labels.any((0, 1))), range(0, 40, 6))[:1]
        ).tolist()
        volume[5, 5, background] = np.nan
        with pytest.raises(VolumeError, match="not finite"):
            segmenter.segment((volume, affine_of(2.5)))


def result_of(slab: Any, liver: bool = False) -> ExaminedSlab:
    labels = np.full((slab.stop - slab.start, 15, 16), int(liver), np.uint8)
    return ExaminedSlab(slab.start, SlabResult(labels, None), None, 0, 0, np.zeros(0, np.int16))


def test_few_slices_are_held_and_none_is_looked_at_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(liver_search, "MAX_HELD_VOXELS", 12 * 16 * 15)
    scan = Scan.open((np.zeros((16, 15, 200), np.int16), affine_of(2.5)))
    step = step_of(scan.geometry, 100)
    assert step == 12
    taken, looked, held = [0], list[int](), list[int]()

    def slabs() -> Iterator[Any]:
        for slab in scan.slabs(3, 1, step):
            taken[0] += slab.stop - slab.start
            yield slab

    def look(slab: Any) -> ExaminedSlab:
        time.sleep(0.002)  # slower than the slabs come
        looked.append(slab.start)
        return result_of(slab)

    given = list[int]()
    with ThreadPoolExecutor(2) as pool:
        for found in LiverSearch(scan.geometry, step, pool, look).run(slabs()):
            held.append(taken[0] - len(given))
            given += range(found.slab.start, found.slab.stop)
            assert found.left_out == (found.looked_at is None)
    assert given == [*range(200)]
    assert sorted(looked) == [*range(0, 199, 12), 199]
    assert max(held) <= 12 + 3


def test_an_error_in_a_look_ends_the_search_and_all_others() -> None:
    scan = Scan.open((np.zeros((16, 15, 200), np.int16), affine_of(2.5)))

    def look(slab: Any) -> ExaminedSlab:
        if slab.start == 60:
            raise VolumeError("slice 60")
        return result_of(slab)

    with ThreadPoolExecutor(2) as pool:
        search = LiverSearch(scan.geometry, 12, pool, look)
        with pytest.raises(VolumeError, match="slice 60"):
            list(search.run(scan.slabs(3, 1, 12)))
        assert all(future.done() for future in search._looks)


def test_slabs_on_a_gpu_have_two_shapes() -> None:
    class Recording:
        def __init__(self, session: Any) -> None:
            self.session, self.shapes = session, set[tuple[int, ...]]()

        def run(self, names: list[str], inputs: dict[str, Any], options: Any) -> Any:
            self.shapes.add(inputs["slab"].shape)
            return self.session.run(names, inputs, options)

    with open_model(15, context_slices=1) as segmenter, segmenter.engine.in_use() as session:
        recording, metadata = Recording(session), segmenter.metadata
        applied = Options().applied(metadata)
        infer = Inference(recording, metadata, applied, False, sizes=(1, 5))
        for n in (1, 2, 5, 1, 4):
            assert infer(np.zeros((n + 2, 9, 8), np.float32)).labels.shape == (n, 9, 8)
    assert recording.shapes == {(3, 9, 8), (7, 9, 8)}
