from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from lits_runtime import VolumeError
from lits_runtime.volumes.scan import Geometry, Scan
from support.files.scans import AXIS_CODES, LPS_AFFINE, load_nifti, random_hu, reorient


def test_all_48_axis_codes_are_distinct() -> None:
    assert len(set(AXIS_CODES)) == 48


@pytest.mark.parametrize("codes", AXIS_CODES)
def test_every_orientation_reads_as_the_same_canonical_volume(codes: str) -> None:
    stored = random_hu((7, 6, 5))
    volume, affine = reorient(stored, LPS_AFFINE, codes)
    scan = Scan.open(nib.Nifti1Image(volume, affine))
    assert scan.geometry.axis_codes == codes
    assert scan.geometry.canonical_shape == (5, 6, 7)
    canonical = scan.read_slab(0, 5)
    np.testing.assert_array_equal(canonical, stored.transpose(2, 1, 0))
    np.testing.assert_array_equal(scan.geometry.from_canonical(canonical), volume)
    slices, rows, columns = scan.geometry.canonical_axes
    spacing = np.array(scan.geometry.spacing_mm)[[columns, rows, slices]]
    np.testing.assert_allclose(spacing, np.linalg.norm(LPS_AFFINE[:3, :3], axis=0))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".img"])
def test_slabs_from_file_equal_slabs_from_memory(ending: str, tmp_path: Path) -> None:
    stored = random_hu((9, 8, 6))
    path = tmp_path / f"scan{ending}"
    kind: Any = nib.Nifti1Pair if ending == ".img" else nib.Nifti1Image
    nib.save(kind(stored, LPS_AFFINE), path)
    lazy, loaded = Scan.open(path), Scan.open(str(path)).load()
    for start, stop, context in ((0, 6, 0), (2, 4, 1), (0, 1, 1), (5, 6, 2)):
        slab = lazy.read_slab(start, stop, context)
        assert slab.dtype == np.float32
        assert slab.flags.c_contiguous
        np.testing.assert_array_equal(slab, loaded.read_slab(start, stop, context))
        wanted = np.clip(np.arange(start - context, stop + context), 0, 5)
        np.testing.assert_array_equal(slab, stored.transpose(2, 1, 0)[wanted])


def test_scaled_and_big_endian_values_are_hounsfield_units(tmp_path: Path) -> None:
    raw = random_hu((5, 4, 3))
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Image(raw, LPS_AFFINE, header)
    image.header.set_slope_inter(0.5, -1024)
    path = tmp_path / "scan.nii.gz"
    nib.save(image, path)
    assert load_nifti(path).header.endianness == ">"
    np.testing.assert_array_equal(
        Scan.open(path).read_slab(0, 3), raw.transpose(2, 1, 0) * 0.5 - 1024
    )


def test_four_dimensions_with_one_time_point_are_accepted(tmp_path: Path) -> None:
    stored = random_hu((5, 4, 3, 1))
    nib.save(nib.Nifti1Image(stored, LPS_AFFINE), tmp_path / "scan.nii")
    slab = Scan.open(tmp_path / "scan.nii").read_slab(0, 3)
    np.testing.assert_array_equal(slab, stored[..., 0].transpose(2, 1, 0))


def test_voxel_volume_of_a_sheared_grid_is_its_determinant() -> None:
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    affine[0, 2] = 1.0
    assert Geometry((4, 4, 4), affine).voxel_ml == pytest.approx(0.02)


def save(path: Path, values: NDArray[np.generic], affine: NDArray[np.float64]) -> Path:
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def test_what_is_no_volume_is_refused_with_what_was_found(tmp_path: Path) -> None:
    colour = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    cases = {
        "2 dimensions": save(tmp_path / "flat.nii", np.zeros((4, 4), "i2"), LPS_AFFINE),
        "4 dimensions": save(tmp_path / "4d.nii", np.zeros((4, 4, 4, 2), "i2"), LPS_AFFINE),
        "expected integers or floats": save(tmp_path / "rgb.nii", colour, LPS_AFFINE),
        "three directions": save(tmp_path / "flat-affine.nii", random_hu((4, 4, 4)), LPS_AFFINE),
    }
    content = bytearray((tmp_path / "flat-affine.nii").read_bytes())
    content[312:328] = bytes(16)  # srow_z
    (tmp_path / "flat-affine.nii").write_bytes(content)
    (tmp_path / "text.nii").write_text("not a volume")
    cases["not a readable NIfTI"] = tmp_path / "text.nii"
    for message, path in cases.items():
        with pytest.raises(VolumeError, match=message):
            Scan.open(path)


def test_missing_file_is_the_builtin_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Scan.open(tmp_path / "none.nii")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_truncated_file_is_refused_when_its_end_is_read(ending: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"scan{ending}", random_hu((32, 32, 16)), LPS_AFFINE)
    path.write_bytes(path.read_bytes()[:-2000])
    scan = Scan.open(path)
    with pytest.raises(VolumeError, match="truncated"):
        scan.read_slab(15, 16)
    with pytest.raises(VolumeError, match="truncated"):
        scan.load()


def test_an_absurd_header_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii", np.zeros((4, 4, 4), "i2"), LPS_AFFINE)
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    path.write_bytes(content)
    with pytest.raises(VolumeError, match=r"\(30000, 30000, 30000\)"):
        Scan.open(path)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    values = random_hu((4, 4, 4)).astype(np.float32)
    values[0, 0, 2] = np.nan
    scan = Scan.open(save(tmp_path / "scan.nii", values, LPS_AFFINE))
    scan.read_slab(0, 2)
    with pytest.raises(VolumeError, match="not finite between slices 2 and 3"):
        scan.read_slab(2, 4)


def test_arrays_need_an_affine_and_numbers() -> None:
    with pytest.raises(VolumeError, match="expected HU"):
        Scan.open((np.zeros((4, 4, 4), bool), np.eye(4)))
    with pytest.raises(VolumeError, match=r"\(4, 4\) affine"):
        Scan.open((np.zeros((4, 4, 4), "i2"), np.eye(3)))
