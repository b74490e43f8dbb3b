from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from lits_runtime.phantom.ct import ORIENTATIONS, Phantom, make_phantom, write_phantom
from lits_runtime.phantom.organs import Organs


@pytest.fixture(scope="module")
def case() -> Phantom:
    return make_phantom(3, matrix=96, slices=24, lesions=3)


def test_types_and_shapes(case: Phantom) -> None:
    assert case.volume_hu.shape == case.labels.shape == (96, 96, 24)
    assert case.volume_hu.dtype == np.int16
    assert case.labels.dtype == np.uint8
    assert case.affine.shape == (4, 4)
    assert case.affine.dtype == np.float64
    assert case.seed == 3


@pytest.mark.slow
def test_same_seed_gives_the_same_voxels(case: Phantom) -> None:
    again = make_phantom(3, matrix=96, slices=24, lesions=3)
    np.testing.assert_array_equal(again.volume_hu, case.volume_hu)
    np.testing.assert_array_equal(again.labels, case.labels)
    np.testing.assert_array_equal(again.affine, case.affine)


@pytest.mark.slow
def test_another_seed_gives_another_anatomy(case: Phantom) -> None:
    other = make_phantom(4, matrix=96, slices=24, lesions=3)
    assert np.mean((other.labels > 0) != (case.labels > 0)) > 0.005


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_affine_says_the_orientation(orientation: str) -> None:
    phantom = make_phantom(1, matrix=32, slices=2, orientation=orientation)
    assert "".join(nibabel.aff2axcodes(phantom.affine)) == orientation


@pytest.mark.slow
@pytest.mark.parametrize("orientation", ["LAS", "RAS"])
def test_orientations_hold_the_same_anatomy(case: Phantom, orientation: str) -> None:
    turned = make_phantom(3, matrix=96, slices=24, lesions=3, orientation=orientation)
    for name in ("volume_hu", "labels"):
        here, there = (
            nibabel.as_closest_canonical(nibabel.Nifti1Image(getattr(p, name), p.affine))
            for p in (case, turned)
        )
        np.testing.assert_array_equal(there.get_fdata(), here.get_fdata())
        np.testing.assert_allclose(there.affine, here.affine, atol=1e-9)


def test_spacing_is_kept() -> None:
    phantom = make_phantom(0, matrix=32, slices=3, spacing_mm=(9.0, 10.0, 2.5))
    np.testing.assert_allclose(nibabel.affines.voxel_sizes(phantom.affine), (9.0, 10.0, 2.5))


def test_default_field_of_view() -> None:
    spacing = nibabel.affines.voxel_sizes(make_phantom(0, matrix=64, slices=2).affine)
    assert 380 <= spacing[0] * 64 <= 420
    assert spacing[0] == spacing[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_liver_is_on_the_right_and_of_plausible_size(seed: int) -> None:
    phantom = make_phantom(seed, matrix=64, slices=24)
    liver = np.argwhere(phantom.labels > 0)
    world = nibabel.affines.apply_affine(phantom.affine, liver)
    assert world[:, 0].mean() > 15, "world x grows to the patient's right"
    litres = len(liver) * abs(np.linalg.det(phantom.affine)) / 1e6
    assert 0.6 < litres < 3.5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_hounsfield_values(seed: int) -> None:
    phantom = make_phantom(seed, matrix=128, slices=20, lesions=3)
    hu, labels = phantom.volume_hu, phantom.labels
    liver = hu[labels == 1].mean()
    assert 40 < liver < 140
    assert hu[labels == 2].mean() < liver - 15
    assert hu.min() == -1024
    assert (hu > 200).sum() > 500
    middle = hu[32:96, 32:96, -1]
    assert np.mean(middle < -700) > 0.2, "no lungs at the top"


@pytest.mark.slow
@pytest.mark.parametrize(("matrix", "slices"), [(64, 1), (64, 8), (128, 12)])
@pytest.mark.parametrize("seed", [0, 5])
def test_every_stack_shows_liver_and_lesions(matrix: int, slices: int, seed: int) -> None:
    labels = make_phantom(seed, matrix=matrix, slices=slices, lesions=3).labels
    assert set(np.unique(labels)) == {0, 1, 2}


def test_thin_stack_shows_liver_and_lesions() -> None:
    phantom = make_phantom(2, matrix=64, slices=5, spacing_mm=(6, 6, 1), lesions=1)
    assert set(np.unique(phantom.labels)) == {0, 1, 2}


def test_lesions_lie_in_the_liver(case: Phantom) -> None:
    lesion = case.labels == 2
    foreground = case.labels > 0
    for axis in (0, 1):
        low = np.maximum.accumulate(foreground, axis=axis)
        high = np.flip(np.maximum.accumulate(np.flip(foreground, axis), axis=axis), axis)
        liver_low = np.maximum.accumulate(case.labels == 1, axis=axis)
        assert (low & high)[lesion].all()
        assert liver_low[lesion].mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 7, 13])
def test_no_other_organ_covers_a_lesion(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kidney and its fat, painted last, left half of a lesion and less."""
    case = make_phantom(seed, matrix=96, slices=64, lesions=3)
    monkeypatch.setattr(Organs, "paint_after_liver", lambda *arguments: None)
    whole = make_phantom(seed, matrix=96, slices=64, lesions=3)
    lesions, count = ndimage.label(whole.labels == 2)
    assert count >= 1
    seen = ndimage.mean(case.labels == 2, lesions, range(1, count + 1))
    assert min(seen) > 0.9


def test_no_lesions() -> None:
    labels = make_phantom(0, matrix=64, slices=12, lesions=0).labels
    assert set(np.unique(labels)) == {0, 1}


@pytest.mark.slow
def test_seed_decides_whether_there_are_lesions() -> None:
    found = [(make_phantom(s, matrix=64, slices=8).labels == 2).any() for s in range(12)]
    assert 2 < sum(found) < 12


@pytest.mark.parametrize(("gzip", "ending"), [(True, ".nii.gz"), (False, ".nii")])
def test_written_pair(tmp_path: Path, gzip: bool, ending: str) -> None:
    phantom = make_phantom(7, matrix=32, slices=3, orientation="LAS")
    folder = tmp_path / "data"
    paths = write_phantom(folder, 7, phantom, gzip=gzip)
    assert paths == (folder / f"volume-7{ending}", folder / f"segmentation-7{ending}")
    assert sorted(folder.iterdir()) == sorted(paths), "a temporary file stayed"
    assert (paths[0].read_bytes()[:2] == b"\x1f\x8b") is gzip
    arrays: tuple[Any, ...] = (phantom.volume_hu, phantom.labels)
    for path, values in zip(paths, arrays, strict=True):
        image: Any = nibabel.load(path)
        assert image.get_data_dtype() == values.dtype
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), values)
        np.testing.assert_allclose(image.affine, phantom.affine, atol=1e-4)
        assert image.header["sform_code"] == image.header["qform_code"] == 1
        assert image.header.get_xyzt_units()[0] == "mm"


def test_case_id_may_be_a_word(tmp_path: Path) -> None:
    paths = write_phantom(tmp_path, "demo", make_phantom(0, matrix=16, slices=1))
    assert [p.name for p in paths] == ["volume-demo.nii.gz", "segmentation-demo.nii.gz"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"orientation": "XYZ"}, "orientation is 'XYZ'.*LPS, LAS, RAS"),
        ({"matrix": 4}, "matrix is 4.*16 to 2048"),
        ({"slices": 0}, "slices is 0"),
        ({"lesions": -1}, "lesions is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"spacing_mm": (1.0, 1.0, 0.0)}, "spacing_mm is"),
        ({"spacing_mm": (1.0, 1.0)}, "spacing_mm is"),
        ({"spacing_mm": (1.0, 1.0, float("nan"))}, "spacing_mm is"),
    ],
)
def test_wrong_arguments(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_phantom(**wrong)  # type: ignore[arg-type]
