"""A segmentation saved as a DICOM SEG of a series, of which the scan is a NIfTI conversion."""

from pathlib import Path

import numpy as np
import pytest

from lits_runtime import Segmenter
from lits_runtime.errors import OutputError, VolumeError
from lits_runtime.volumes.dicom_objects.read_seg import read_seg
from support.dicom.labelled_series import labelled
from support.files.scans import save


def test_labels_of_a_conversion_are_saved_on_the_series(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    case = labelled(tmp_path / "ct", "coronal")
    hu = np.array([-900, 40, 250], np.int16)[case.reference]
    scan = save(tmp_path / "scan.nii.gz", hu, case.geometry.affine)
    with Segmenter.open(tiny_model_path, provider="cpu") as segmenter:
        result = segmenter.segment(scan)
    assert result.labels.any()
    path = tmp_path / "seg.dcm"
    result.save_seg(path, case.series)
    assert np.array_equal(read_seg(path).on(result.geometry), result.labels)
    with pytest.raises(OutputError, match="exists, and no record of ours explains it"):
        result.save_seg(path, case.series)
    with pytest.raises(OutputError, match="choose another output"):
        result.save_seg(case.series.files[0], case.series, force=True)
    result.labels[:] = 0
    with pytest.raises(VolumeError, match="nothing is labelled, so there is no SEG to write"):
        result.save_seg(path, case.series, force=True)
