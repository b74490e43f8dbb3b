"""DICOM series through the whole runtime: as NIfTI of the same volume, slice by slice."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray

from lits_runtime import Segmentation, Segmenter, VolumeError
from lits_runtime.volumes.dicom.find import find_series
from lits_runtime.volumes.dicom.source import DicomSource
from lits_runtime.volumes.digest import scan_sha256
from lits_runtime.volumes.open import open_dicom
from lits_runtime.volumes.scan import Scan
from support.dicom.ct import AFFINE, body_hu, save, slices_of
from support.dicom.faults import FAULTS
from support.dicom.labelled_series import labelled
from support.files.scans import load_nifti
from support.files.scans import save as save_nifti
from support.paths import SHARED_DATA

PLANES = ("LPS", "LPI", "RAI", "LIP", "PIL")
"""Columns, rows and slices of axial series of three kinds, a coronal and a sagittal one."""
SAMPLE = SHARED_DATA / "dicom/totalsegmentator_jpeg2000"


@pytest.mark.parametrize("codes", PLANES)
def test_the_mask_is_that_of_the_nifti_file(
    tiny_model_path: Path, tmp_path: Path, codes: str
) -> None:
    turn = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(codes))
    hu = apply_orientation(body_hu(), turn)
    affine = AFFINE @ inv_ornt_aff(turn, body_hu().shape)
    save(slices_of(hu, affine), tmp_path / "series")
    save_nifti(tmp_path / "scan.nii.gz", hu, affine)
    with Segmenter.open(tiny_model_path, provider="cpu") as segmenter:
        by_dicom = segmenter.segment(tmp_path / "series")
        by_nifti = segmenter.segment(tmp_path / "scan.nii.gz")
        segmenter.segment_file(tmp_path / "series", tmp_path / "mask.nii.gz")
    assert by_nifti.labels.any()
    assert np.array_equal(canonical(by_dicom), canonical(by_nifti))
    world = by_nifti.geometry.canonical_affine
    np.testing.assert_allclose(by_dicom.geometry.canonical_affine, world, atol=1e-4)
    assert by_dicom.volumes_ml == pytest.approx(by_nifti.volumes_ml)
    assert by_dicom.warnings == by_nifti.warnings
    mask = load_nifti(tmp_path / "mask.nii.gz")
    assert np.array_equal(mask.dataobj, by_dicom.labels)
    np.testing.assert_allclose(mask.affine, by_dicom.affine, atol=1e-4)


def canonical(result: Segmentation) -> NDArray[np.uint8]:
    """Labels whose order does not depend on that of the slices."""
    return result.geometry.to_canonical(result.labels)


def test_a_digest_is_that_of_the_objects_however_they_are_stored(tmp_path: Path) -> None:
    digests = set()
    for name in ("none", "ZIP archive", "other objects lying about, nested", "same file twice"):
        given = tmp_path / name
        FAULTS[name](given)
        scan = Scan.open(given).load()
        assert scan.sha256 == scan_sha256(given)
        digests.add(scan.sha256)
    assert len(digests) == 1


def test_files_and_sizes_of_a_series(tmp_path: Path) -> None:
    FAULTS["other objects lying about, nested"](tmp_path)
    source = open_dicom(tmp_path)
    slices = sorted((tmp_path / "a/b.c").iterdir())
    assert sorted(source.origins) == slices
    assert source.size_bytes == sum(path.stat().st_size for path in slices)
    assert source.series.dataset(0).PatientName == "Doe^Jane"
    assert source.series.dataset(3).ImagePositionPatient[2] == -303


def test_no_output_may_be_one_of_its_files(tiny_model_path: Path, tmp_path: Path) -> None:
    paths = save(slices_of(body_hu()), tmp_path)
    paths[3].rename(tmp_path / "mask.nii.gz")  # a slice by content, whatever its name
    with Segmenter.open(tiny_model_path, provider="cpu") as segmenter:  # noqa: SIM117
        with pytest.raises(FileExistsError, match="would overwrite the scan"):
            segmenter.segment_file(tmp_path, tmp_path / "mask.nii.gz", force=True)


def test_slices_pass_one_by_one(tmp_path: Path) -> None:
    """What a pass holds does not depend on the number of slices."""
    code = (
        "import sys, tracemalloc; from lits_runtime.volumes.scan import Scan\n"
        "scan = Scan.open(sys.argv[1]); tracemalloc.start()\n"
        "for slab in scan.slabs(2): pass\n"
        "print(tracemalloc.get_traced_memory()[1])"
    )
    peaks = []
    for slices in (20, 80):
        folder = tmp_path / str(slices)
        save(slices_of(body_hu((128, 128, slices))), folder)
        command = [sys.executable, "-c", code, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.2 * peaks[0] < 60 * 128 * 128 * 2


def test_nifti_loads_nothing_of_dicom(tmp_path: Path) -> None:
    save_nifti(tmp_path / "scan.nii.gz", body_hu(), AFFINE)
    code = (
        "import sys; from lits_runtime.volumes.scan import Scan; Scan.open(sys.argv[1]).load()\n"
        "print({'highdicom', 'lits_runtime.volumes.dicom'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "scan.nii.gz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_without_pydicom_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FAULTS["none"](tmp_path)
    monkeypatch.setattr("lits_runtime.volumes.open.find_spec", lambda name: None)
    with pytest.raises(VolumeError, match=r"pip install 'lits-toolkit\[dicom\]'"):
        Scan.open(tmp_path)


def test_a_public_series_lies_where_its_mask_does(tmp_path: Path) -> None:
    """20 slices in JPEG 2000, 3 mm thick in steps of 2 mm; the mask was made by others."""
    if SAMPLE.exists():
        folder, value = SAMPLE, 5
        mask = Scan.open(SAMPLE.with_name("totalsegmentator_jpeg2000_seg.nii.gz"))
    else:
        case = labelled(tmp_path / "ct")
        folder, value, mask = case.folder, 1, Scan.open((case.reference, case.geometry.affine))
    (series,) = find_series(folder).series
    scan = Scan(DicomSource(series)).load()
    assert mask.geometry.same_grid(scan.geometry)
    liver = mask.load().read_slab(0, 20) == value
    assert 30 < np.median(scan.read_slab(0, 20)[liver]) < 160
