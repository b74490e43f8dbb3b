"""What the report warns of before it states a volume."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from lits_runtime import Options, Segmenter, VolumeError
from support.files.scans import load_nifti, random_hu
from support.networks.tiny_models import tiny_model

AFFINE = np.array([[-0.7, 0, 0, 100], [0, -0.7, 0, 90], [0, 0, 2.5, -40], [0, 0, 0, 1.0]])


def image(
    affine: NDArray[np.float64] = AFFINE, low: int = -1000, high: int = 400
) -> nib.Nifti1Image:
    values = random_hu((6, 5, 4)).astype(np.int32)
    values[0, 0, 0], values[1, 0, 0] = low, high
    made = nib.Nifti1Image(values.clip(low, high).astype(np.int16), affine)
    made.set_sform(affine, code=1)
    made.set_qform(affine, code=1)
    return made


def spaced(*spacing_mm: float) -> NDArray[np.float64]:
    return np.diag([*spacing_mm, 1.0])


def disagreeing() -> nib.Nifti1Image:
    made = image()
    moved = AFFINE.copy()
    moved[2, 3] += 12
    made.set_qform(moved, code=1)
    return made


def uncoded() -> nib.Nifti1Image:
    made = image()
    made.header["sform_code"] = made.header["qform_code"] = 0
    return nib.Nifti1Image(made.dataobj, None, made.header)


def no_rotation() -> nib.Nifti1Image:
    made = image()
    made.header["quatern_b"] = made.header["quatern_c"] = 0.9
    return made


CASES = {
    "are not CT's": image(spaced(0.1, 0.7, 2.5)),
    "are not  CT's": image(spaced(0.7, 0.7, 12.0)),
    "affine is the identity": image(np.eye(4)),
    "up to 12.0 mm apart": disagreeing(),
    "neither sform nor qform": uncoded(),
    "no rotation": no_rotation(),
    "values from 0 to 255, no air or fat": image(low=0, high=255),
    "values from 0 to 1200, no air": image(low=0, high=1200),
    "values from -1000 to 90, no contrast": image(high=90),
}


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.open(tiny_model(), provider="cpu")


@pytest.mark.parametrize("message", CASES)
def test_warned_of_and_refused_if_strict(
    message: str, segmenter: Segmenter, tmp_path: Path
) -> None:
    scan, mask = tmp_path / "scan.nii.gz", tmp_path / "out/mask.nii.gz"
    nib.save(CASES[message], scan)
    words = " ".join(message.split()).replace("no rotation", "is not a rotation")
    report = segmenter.segment_file(scan, mask)
    assert len(report.warnings) == 1
    assert words in report.warnings[0]
    assert next(iter(report.to_json())) == "warnings"
    mask.unlink()
    with pytest.raises(VolumeError, match=words):
        segmenter.segment_file(scan, mask, Options(strict=True))
    assert list(mask.parent.iterdir()) == []


def test_a_plain_ct_passes(segmenter: Segmenter, tmp_path: Path) -> None:
    nib.save(image(), tmp_path / "scan.nii.gz")
    result = segmenter.segment(tmp_path / "scan.nii.gz", Options(strict=True))
    assert result.warnings == ()


def test_the_sform_wins(segmenter: Segmenter, tmp_path: Path) -> None:
    nib.save(disagreeing(), tmp_path / "scan.nii.gz")
    np.testing.assert_allclose(segmenter.segment(tmp_path / "scan.nii.gz").affine, AFFINE)


def test_a_liver_cut_by_the_field_of_view_is_flagged(segmenter: Segmenter) -> None:
    for edge, side in (
        (np.s_[:, :, -1], "head"),
        (np.s_[:, :, 0], "feet"),
        (np.s_[0], "right"),
        (np.s_[-1], "left"),
        (np.s_[:, 0], "front"),
        (np.s_[:, -1], "back"),
    ):
        volume = np.full((7, 8, 9), -1000, np.int16)
        assert segmenter.segment((volume, AFFINE)).report.liver_cut == ()
        volume[2:5, 2:5, 2:5] = 60
        assert segmenter.segment((volume, AFFINE)).report.liver_cut == ()
        middle = volume[edge]
        middle[3, 3] = 60
        assert segmenter.segment((volume, AFFINE)).report.liver_cut == (side,)


def edited(path: Path, **fields: object) -> Path:
    """A scan of voxels of 0.7 x 0.7 x 2.5 mm under a header with these fields."""
    content = bytearray(image().to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(content)
    return path


PIXDIM_0 = [-1, 0.7, 0.7, 0, 1, 1, 1, 1]
METRES = {
    "srow_x": [-7e-4, 0, 0, 0.1],
    "srow_y": [0, -7e-4, 0, 0.09],
    "srow_z": [0, 0, 2.5e-3, 0],
    "pixdim": [1, 7e-4, 7e-4, 2.5e-3, 1, 1, 1, 1],
    "qform_code": 0,
}
MICROMETRES = {name: np.array(row) * 1e6 for name, row in METRES.items() if name[0] == "s"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sform_code": 0, "pixdim": PIXDIM_0}, "pixdim is 0.7 x 0.7 x 0 and no sform is set"),
        ({"xyzt_units": 1, **METRES}, "the header's unit is metres: converted to mm"),
        ({"xyzt_units": 1}, "the header's unit is metres, which cannot be right: taken as mm"),
        ({"xyzt_units": 3}, "the header's unit is micrometres, which cannot be"),
        ({"qform_code": 0, "pixdim": [1.0] * 8}, "pixdim says 1 x 1 x 1, the sform 0.7 x 0.7 x"),
        ({"intent_code": 1002}, "label map (intent code 1002)"),
        ({"descrip": b"TE=4.6;Time=101500.123"}, "describes an MR image: TE=4.6;"),
    ],
)
def test_headers_that_are_read_with_a_grain_of_salt(
    fields: dict[str, object], words: str, segmenter: Segmenter, tmp_path: Path
) -> None:
    scan, mask = edited(tmp_path / "scan.nii", **fields), tmp_path / "mask.nii"
    report = segmenter.segment_file(scan, mask)
    assert len(report.warnings) == 1
    assert words in report.warnings[0]
    np.testing.assert_allclose(report.spacing_mm[:2], 0.7, rtol=1e-6)
    again = load_nifti(mask)
    np.testing.assert_array_equal(again.affine, load_nifti(scan).affine)
    assert again.header["xyzt_units"] == load_nifti(scan).header["xyzt_units"]
    mask.unlink()
    with pytest.raises(VolumeError, match="a warning, and an error with --strict"):
        segmenter.segment_file(scan, mask, Options(strict=True))
    assert not mask.exists()


@pytest.mark.parametrize("factor", [1.0, 1e6])
def test_voxels_that_no_ct_has_are_refused(
    factor: float, segmenter: Segmenter, tmp_path: Path
) -> None:
    fields = METRES if factor == 1 else {**MICROMETRES, "qform_code": 0}
    scan = edited(tmp_path / "scan.nii", **fields)
    with pytest.raises(VolumeError, match="mm, which no CT has"):
        segmenter.segment_file(scan, tmp_path / "mask.nii")


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "words"),
    [
        ((64, 64, 8), (0.7, 1.4, 2.5), "pixels of 0.7 x 1.4 mm in axial slices, CT's are square"),
        ((128, 128, 8), (8.5, 8.5, 2.5), "axial slices of 1088 x 1088 mm"),
        ((128, 128, 8), (0.4, 0.4, 2.5), "axial slices of 51.2 x 51.2 mm"),
        ((64, 64, 2), (4, 4, 2.5), "2 axial slices: volumes mean little"),
    ],
)
def test_grids_that_no_scanner_makes_are_told(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    words: str,
    segmenter: Segmenter,
) -> None:
    volume = np.broadcast_to(np.array([-1000] * 32 + [-90, 40] * 16, np.int16), (64, 64)).copy()
    volume[20:24, 40:44] = 250
    stored = np.resize(volume, shape)
    report = segmenter.segment((stored, spaced(*spacing_mm) * [-1, -1, 1, 1]))
    assert any(words in warning for warning in report.warnings), report.warnings
