import itertools
import tempfile
from collections.abc import Sequence
from contextlib import closing

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lits_runtime import VolumeError
from lits_runtime.segment import kept_runs
from lits_runtime.segment.cleanup import CleanUp
from lits_runtime.segment.options import Options
from support.full_disk import largest_file


def clean_up(
    labels: NDArray[np.uint8],
    voxel_ml: float,
    options: Options,
    slabs: Sequence[tuple[int, int]] | None = None,
) -> None:
    """Clean up canonical labels in place, in one slab or in those that are given."""
    shape = labels.shape[0], labels.shape[1], labels.shape[2]
    with closing(CleanUp(shape, voxel_ml, options)) as held:
        for start, stop in slabs or [(0, len(labels))]:
            held.add(start, labels[start:stop])
        for start, cleaned in held.slabs():
            labels[start : start + len(cleaned)] = cleaned


def expected(labels: NDArray[np.uint8], voxel_ml: float, options: Options) -> NDArray[np.uint8]:
    """The definition, on the whole volume, with SciPy."""
    labels = labels.copy()
    if options.keep_largest_liver and labels.any():
        livers, _ = ndimage.label(labels > 0)
        labels[livers != 1 + np.argmax(np.bincount(livers.ravel())[1:])] = 0
    lesions, count = ndimage.label(labels == 2)
    beside = ndimage.binary_dilation(labels == 1)
    for number in range(1, count + 1):
        lesion = lesions == number
        in_liver = bool((lesion & beside).any())
        if options.drop_lesions_outside_liver and not in_liver:
            labels[lesion] = 0
        elif lesion.sum() * voxel_ml < options.min_lesion_ml:
            labels[lesion] = 1 if in_liver else 0
    return labels


def random_labels(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blobs of liver, and of lesions within it or anywhere."""
    shape = tuple(rng.integers(3, 18, 3))
    liver, lesion = (
        ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0, 1.5)) for _ in range(2)
    )
    labels = (liver > np.quantile(liver, rng.uniform(0.2, 0.95))).astype(np.uint8)
    inside = (labels > 0) if rng.random() < 0.5 else True
    labels[(lesion > np.quantile(lesion, rng.uniform(0.5, 0.99))) & inside] = 2
    return labels


def random_slabs(slices: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Slabs of a few slices, upwards, downwards or in any order."""
    cuts = sorted({0, slices, *rng.integers(0, slices, slices // 2).tolist()})
    slabs = list(itertools.pairwise(cuts))
    return [slabs, slabs[::-1], [slabs[i] for i in rng.permutation(len(slabs))]][rng.integers(3)]


def two_livers() -> NDArray[np.uint8]:
    """A liver of 20 voxels with a lesion of 2, one of 6 with a lesion of 3, a lesion apart."""
    labels = np.zeros((12, 6, 3), np.uint8)
    labels[0:5, 0:4, 0] = 1
    labels[1, 1:3, 0] = 2
    labels[7:9, 0:3, 1] = 1
    labels[8, 0:3, 1] = 2
    labels[11, 5, 2] = 2
    return labels


def cleaned(options: Options) -> NDArray[np.uint8]:
    labels = two_livers()
    clean_up(labels, 1.0, options)
    return labels


def test_the_largest_liver_stays_with_its_lesions() -> None:
    labels = cleaned(Options(keep_largest_liver=True))
    expected = two_livers()
    expected[5:] = 0
    np.testing.assert_array_equal(labels, expected)


def test_lesions_outside_the_liver_become_background() -> None:
    expected = two_livers()
    expected[11, 5, 2] = 0
    np.testing.assert_array_equal(cleaned(Options(drop_lesions_outside_liver=True)), expected)


def test_small_lesions_become_liver_or_background_where_there_is_none() -> None:
    expected = two_livers()
    expected[1, 1:3, 0] = 1
    expected[11, 5, 2] = 0
    np.testing.assert_array_equal(cleaned(Options(min_lesion_ml=3.0)), expected)


def test_all_at_once_and_nothing_at_all() -> None:
    options = Options(keep_largest_liver=True, drop_lesions_outside_liver=True, min_lesion_ml=2.5)
    expected = np.zeros((12, 6, 3), np.uint8)
    expected[0:5, 0:4, 0] = 1
    np.testing.assert_array_equal(cleaned(options), expected)
    empty = np.zeros((3, 3, 3), np.uint8)
    clean_up(empty, 1.0, options)
    assert not empty.any()


def test_a_lesion_alone_in_a_model_without_liver_may_be_dropped_by_size() -> None:
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[0, 0, 0], labels[2:4, 2:4, 2:4] = 2, 2
    clean_up(labels, 1.0, Options(min_lesion_ml=2.0))
    assert (labels == 2).sum() == 8
    assert (labels == 0).sum() == 56


@pytest.mark.parametrize("liver", [False, True])
@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("min_lesion_ml", [0.0, 2.5, 6.0])
def test_slab_by_slab_as_on_the_whole_volume(
    liver: bool, outside: bool, min_lesion_ml: float
) -> None:
    options = Options(
        keep_largest_liver=liver, drop_lesions_outside_liver=outside, min_lesion_ml=min_lesion_ml
    )
    for seed in range(30):  # 360 in all
        rng = np.random.default_rng([seed, liver, outside, int(min_lesion_ml)])
        labels = random_labels(rng)
        found = labels.copy()
        clean_up(found, 1.0, options, random_slabs(len(labels), rng))
        np.testing.assert_array_equal(found, expected(labels, 1.0, options), str(seed))


def test_runs_that_are_many_go_to_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    options, rng = Options(min_lesion_ml=3.0), np.random.default_rng(0)
    labels = rng.integers(0, 3, (12, 40, 30)).astype(np.uint8)
    monkeypatch.setattr(kept_runs, "MAX_BYTES_IN_MEMORY", 1000)
    found = labels.copy()
    clean_up(found, 1.0, options, [(start, start + 3) for start in range(0, 12, 3)])
    np.testing.assert_array_equal(found, expected(labels, 1.0, options))


def test_a_full_disk_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_runs, "MAX_BYTES_IN_MEMORY", 1)
    labels = np.random.default_rng(0).integers(0, 3, (4, 128, 128)).astype(np.uint8)
    with largest_file(2**16), pytest.raises(VolumeError, match=tempfile.gettempdir()):
        clean_up(labels, 1.0, Options(min_lesion_ml=3.0))
