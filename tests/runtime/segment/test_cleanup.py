import numpy as np
from numpy.typing import NDArray

from lits_runtime.segment.cleanup import clean_up
from lits_runtime.segment.options import Options


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
