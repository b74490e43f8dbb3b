"""Faulty series and all transfer syntaxes: the data are right, or the message is."""

from pathlib import Path

import numpy as np
import pytest

from lits_runtime import VolumeError
from lits_runtime.volumes.dicom.find import find_series
from lits_runtime.volumes.dicom.series import Series
from lits_runtime.volumes.dicom.source import DicomSource
from lits_runtime.volumes.scan import Scan
from support.dicom.ct import AFFINE, PATIENT_NAME, body_hu, slices_of
from support.dicom.faults import FAULTS, Truth, Volume
from support.dicom.htj2k import SHAPE
from support.dicom.syntaxes import WRITERS


def check(series: Series, truth: Volume) -> None:
    hu, affine = truth
    source = DicomSource(series)
    np.testing.assert_allclose(source.geometry.affine, affine, rtol=0, atol=1e-4)
    with source.planes() as planes:
        pieces = [planes.read(min(5, hu.shape[2] - k)) for k in range(0, hu.shape[2], 5)]
        assert planes.finish().sha256
    read = np.concatenate(pieces).T
    assert np.array_equal(read, hu)
    middle = slice(3, 9), slice(0, 7), slice(hu.shape[2] // 2, None)
    assert np.array_equal(source.read(middle), hu[middle])


def read_and_check(given: Path, truth: Truth) -> None:
    found = find_series(given, **truth.options)
    assert not found.refused
    assert len(found.series) == len(truth.volumes)
    for series, volume in zip(found.series, truth.volumes, strict=True):
        check(series, volume)
        notes = DicomSource(series).notes
        assert len(notes) == len(truth.notes)
        assert all(map(str.__contains__, notes, truth.notes)), notes


@pytest.mark.parametrize("name", FAULTS)
def test_faults(tmp_path: Path, name: str) -> None:
    given = tmp_path / "series"
    truth = FAULTS[name](given)
    given = given / "DICOMDIR" if name == "DICOMDIR" else given
    if not truth.refused:
        read_and_check(given, truth)
        return
    with pytest.raises(VolumeError, match=truth.refused) as caught:
        found = find_series(given, **truth.options)
        assert not (found.series and found.refused)
        if found.refused:
            raise VolumeError(found.refused[0].why)
        Scan(DicomSource(found.series[0])).load()
    assert "\n" not in str(caught.value)
    assert PATIENT_NAME not in str(caught.value)


@pytest.mark.parametrize("name", WRITERS)
def test_transfer_syntaxes(tmp_path: Path, name: str) -> None:
    hu = body_hu(SHAPE)
    WRITERS[name](slices_of(hu), tmp_path)
    read_and_check(tmp_path, Truth(((hu, AFFINE),)))
