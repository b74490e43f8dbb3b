"""Lesions found by volume, slab by slab, against the whole volume at once."""

import cc3d
import numpy as np
import pytest
from numpy.typing import NDArray

from lits_train.validation.lesions_found import FOUND_FROM, SIZES_ML, LesionOverlaps

Mask = NDArray[np.bool_]


def at_once(mask: Mask, other: Mask, voxel_ml: float) -> list[tuple[int, int]]:
    numbers = cc3d.connected_components(mask, connectivity=6)
    parts = [numbers == number for number in range(1, int(numbers.max()) + 1)]
    ml = [float(part.sum()) * voxel_ml for part in parts]
    hit = [(part & other).sum() > FOUND_FROM * part.sum() for part in parts]
    sizes = [[low <= one < high for one in ml] for low, high in SIZES_ML]
    return [
        (sum(a and b for a, b in zip(hit, within, strict=True)), sum(within)) for within in sizes
    ]


@pytest.mark.parametrize("seed", range(8))
def test_slabs_from_either_end_give_what_the_whole_volume_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask, other = rng.random((2, 13, 12, 11)) < rng.uniform(0.05, 0.5)
    expected = at_once(mask, other, 0.1)
    starts = np.unique([0, *rng.integers(0, 13, 4)]).tolist()
    slabs = list(zip(starts, [*starts[1:], 13], strict=True))
    for order in (slabs, slabs[::-1]):
        overlaps = LesionOverlaps()
        for start, stop in order:
            overlaps.add(start, mask[start:stop], other[start:stop])
        assert overlaps.counts(0.1) == expected


def test_lesions_of_known_size() -> None:
    mask, other = np.zeros((2, 4, 20, 20), bool)
    mask[1:3, 2:12, 2:12] = True  # 200 voxels, 2 ml
    mask[0, 15, 15] = True  # 0.01 ml
    other[1, 2:4, 2:12] = True  # a tenth of the first is not yet enough
    overlaps = LesionOverlaps()
    overlaps.add(0, mask, other)
    assert overlaps.counts(0.01) == [(0, 1), (0, 0), (0, 1), (0, 0)]
    other[2, 2, 2] = True
    overlaps = LesionOverlaps()
    for start in (0, 2):  # each slab cut to another box
        rows = slice(start, 20 - start)
        here = slice(start, start + 2)
        overlaps.add(start, mask[here, rows], other[here, rows], (start, 0))
    assert overlaps.counts(0.01) == [(0, 1), (0, 0), (1, 1), (0, 0)]
    assert LesionOverlaps().counts(1.0) == [(0, 0)] * 4
