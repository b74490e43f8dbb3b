"""What the report warns of before it states a volume."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import random_hu, tiny_model
from numpy.typing import NDArray

from lits_runtime import Options, Segmenter, VolumeError

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
