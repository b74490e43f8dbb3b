"""Real CT with the bundled model: through DICOM the mask is what it is through NIfTI, in the world.

The suite takes a thinned CT; LITS_DICOM_WHOLE=1 takes all of it. Where the shared data is absent a
phantom takes its place.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from lits_runtime import Segmentation, Segmenter
from lits_runtime.volumes.dicom.find import find_series
from lits_runtime.volumes.dicom.series import Series
from lits_runtime.volumes.dicom_objects.capture import make_sc
from lits_runtime.volumes.dicom_objects.facts import ObjectOptions
from lits_runtime.volumes.dicom_objects.read_seg import on_grid, read_seg
from lits_runtime.volumes.dicom_objects.report import make_sr
from lits_runtime.volumes.dicom_objects.rtstruct import make_rtstruct
from lits_runtime.volumes.dicom_objects.seg import make_seg
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.scan import Scan
from support.dicom.ct import save, slices_of
from support.dicom.labelled_series import ALGORITHM, PLANES, labelled
from support.dicom.programs import broken_rules, report_by_dcmqi, run
from support.dicom.segs import by_dcmqi, by_highdicom, by_pydicom, written
from support.files.scans import load_nifti
from support.paths import SHARED_DATA

pytestmark = pytest.mark.slow
WHOLE = bool(os.environ.get("LITS_DICOM_WHOLE"))
OPTIONS = ObjectOptions()
Labels = NDArray[np.uint8]


def check_seg(series: Series, labels: Labels, mask: Labels, grid: Geometry, scratch: Path) -> Any:
    """A SEG of labels (k, j, i) gives a mask on another grid (i, j, k) to all readers."""
    seg = make_seg(series, labels, ALGORITHM, OPTIONS)
    path = written(seg, scratch / "seg.dcm")
    assert broken_rules(path) == []
    assert np.array_equal(read_seg(path).on(grid), mask)
    assert np.array_equal(by_pydicom(path, grid), mask)
    assert np.array_equal(by_highdicom(path, grid), mask)
    assert np.array_equal(by_dcmqi(path, scratch / "itk", grid), mask)
    return seg


def check_others(series: Series, result: Segmentation, seg: Any, scratch: Path) -> None:
    """Report, pictures and structures of a result keep the rules; readers give the figures back."""
    labels, report = result.labels.T, result.report
    sr = written(make_sr(series, labels, seg, report, ALGORITHM, OPTIONS), scratch / "sr.dcm")
    scan = Scan.open(series).load()
    sc = next(make_sc(series, labels, scan.read_slab, report, ALGORITHM, OPTIONS))
    structures = make_rtstruct(series, labels, ALGORITHM, OPTIONS)
    for path in (sr, written(sc, scratch / "sc.dcm"), written(structures, scratch / "rt.dcm")):
        assert broken_rules(path) == []
    dumped = run("dsrdump", sr)
    volumes_ml = [*report.volumes_ml.values(), *(one.volume_ml for one in report.lesions)]
    for volume_ml in volumes_ml:
        assert f'="{round(volume_ml, 6)}" (cm3,UCUM,"cubic centimeter")' in dumped
    _, liver, *lesions = report_by_dcmqi(sr, scratch)["Measurements"]
    found = [
        float(item["value"])
        for group in (liver, *lesions)
        for item in group["measurementItems"]
        if item["quantity"]["CodeValue"] == codes.SCT.Volume.value
    ]
    wanted = [report.volumes_ml["liver"], *(one.volume_ml for one in report.lesions)]
    assert found == pytest.approx(wanted, abs=1e-6)


@pytest.fixture(scope="module")
def segmenter() -> Iterator[Segmenter]:
    """With the bundled model."""
    with Segmenter.open(provider="cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def through_nifti(segmenter: Segmenter, real_case: tuple[Path, Path]) -> tuple[Any, Segmentation]:
    """HU (i, j, k) of a CT, and what the model makes of it."""
    image = load_nifti(real_case[0])
    step = 1 if WHOLE else max(image.shape[0] // 128, 1)
    steps = np.array([step, step, 1 if WHOLE or image.shape[2] < 100 else 4])
    hu = np.asarray(image.dataobj)[:: steps[0], :: steps[1], :: steps[2]].astype(np.int16)
    result = segmenter.segment((hu, image.affine @ np.diag([*steps, 1.0])))
    assert np.count_nonzero(result.labels) > 1000
    return hu, result


@pytest.mark.parametrize("plane", PLANES)
def test_a_ct_in_five_orientations(
    plane: str, segmenter: Segmenter, through_nifti: tuple[Any, Segmentation], tmp_path: Path
) -> None:
    hu, wanted = through_nifti
    turn = ornt_transform(io_orientation(wanted.affine), axcodes2ornt(PLANES[plane]))
    affine = wanted.affine @ inv_ornt_aff(turn, hu.shape)
    save(slices_of(apply_orientation(np.maximum(hu, -1024), turn), affine), tmp_path / "ct")
    (series,) = find_series([tmp_path / "ct"]).series
    result = segmenter.segment(tmp_path / "ct")
    found = on_grid(result.labels, result.geometry, wanted.geometry, "through DICOM")
    assert np.array_equal(found, wanted.labels)
    assert result.volumes_ml == pytest.approx(wanted.volumes_ml, rel=1e-6)
    seg = check_seg(series, result.labels.T, wanted.labels, wanted.geometry, tmp_path)
    check_others(series, result, seg, tmp_path)


def a_jpeg_2000_series(scratch: Path) -> tuple[Path, Labels, Geometry]:
    image = load_nifti(SHARED_DATA / "dicom/totalsegmentator_jpeg2000_seg.nii.gz")
    mask = (np.asarray(image.dataobj) == 5).astype(np.uint8)
    folder = SHARED_DATA / "dicom/totalsegmentator_jpeg2000"
    return folder, mask, Geometry(image.shape, image.affine)


def three_slices(scratch: Path) -> tuple[Path, Labels, Geometry]:
    theirs = read_seg(SHARED_DATA / "dicom/dcmqi/liver.dcm")
    return SHARED_DATA / "dicom/dcmqi/ct-3slice", theirs.labels, theirs.geometry


@pytest.mark.parametrize("real", [a_jpeg_2000_series, three_slices])
def test_a_series_with_its_mask(real: Any, segmenter: Segmenter, tmp_path: Path) -> None:
    if (SHARED_DATA / "dicom").exists():
        folder, mask, geometry = real(tmp_path)
    else:
        case = labelled(tmp_path / "ct")
        folder, mask, geometry = case.folder, case.reference, case.geometry
    (series,) = find_series([folder]).series
    labels = on_grid(mask, geometry, series.geometry, "mask").T
    check_seg(series, np.ascontiguousarray(labels), mask, geometry, tmp_path)


def test_a_real_series_through_both(segmenter: Segmenter, tmp_path: Path) -> None:
    """Its HU in a NIfTI file of another orientation, and the series as it is."""
    folder = SHARED_DATA / "dicom/totalsegmentator_jpeg2000"
    if not folder.exists():
        folder = labelled(tmp_path / "ct").folder
    (series,) = find_series([folder]).series
    scan = Scan.open(series).load()
    canonical = scan.read_slab(0, scan.geometry.canonical_shape[0])
    hu = canonical.transpose(2, 1, 0)[::-1].astype(np.int16)
    affine = scan.geometry.canonical_affine @ np.array(
        [[-1, 0, 0, hu.shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]
    )
    wanted, result = segmenter.segment((hu, affine)), segmenter.segment(folder)
    found = on_grid(result.labels, result.geometry, wanted.geometry, "through DICOM")
    assert np.array_equal(found, wanted.labels)
    if result.labels.any():
        seg = check_seg(series, result.labels.T, wanted.labels, wanted.geometry, tmp_path)
        check_others(series, result, seg, tmp_path)
