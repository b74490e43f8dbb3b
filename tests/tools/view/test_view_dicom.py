"""lits-view on DICOM: a SEG over its series is drawn as the mask over the NIfTI scan."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner, Result

from lits_runtime.errors import DatasetError, VolumeError
from lits_runtime.volumes.scan import Scan
from lits_tools.cli.view import main
from lits_tools.view.view_data import open_view
from support.dicom.ct import set_all
from support.dicom.labelled_series import PLANES, labelled
from support.dicom.segs import write_seg
from support.files.scans import save


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.mark.parametrize("plane", PLANES)
def test_arrays_are_those_of_nifti(plane: str, tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct", plane)
    seg = write_seg(case, tmp_path / "seg.dcm")
    hu = np.array([-900, 40, 70], np.int16)[case.reference]
    scan = save(tmp_path / "scan.nii.gz", hu, case.geometry.affine)
    mask = save(tmp_path / "mask.nii.gz", case.reference, case.geometry.affine)
    wanted = open_view(scan, mask, mask)
    for pair in ((case.folder, seg), (scan, seg), (case.folder, mask)):
        view = open_view(*pair, reference=seg)
        np.testing.assert_array_equal(view.volume_hu, wanted.volume_hu)
        np.testing.assert_array_equal(view.labels, wanted.labels)
        np.testing.assert_array_equal(view.reference, wanted.reference)
        assert view.captions == wanted.captions
        assert [one.centre for one in view.lesions] == [one.centre for one in wanted.lesions]


def test_the_series_of_the_seg_is_taken(tmp_path: Path) -> None:
    """Of a study whose most fitting series is another."""

    def fifth(slices: list[pydicom.Dataset]) -> list[pydicom.Dataset]:
        set_all(slices, SeriesInstanceUID="1.2.826.0.1.3680043.8.498.5", SeriesNumber=5)
        return slices

    fitting = labelled(tmp_path / "study/a")
    case = labelled(tmp_path / "study/b", shear=0.25, change=fifth)
    assert fitting.series.name in Scan.open(tmp_path / "study").name
    seg = write_seg(case, tmp_path / "seg.dcm")
    assert case.series.name in open_view(tmp_path / "study", seg).name
    with pytest.raises(VolumeError, match="its voxels are not those of the scan"):
        open_view(tmp_path / "study", seg, series="3")
    with pytest.raises(DatasetError, match="a DICOM SEG, which is matched by geometry"):
        open_view(tmp_path / "study", seg, ignore_affine=True)


def test_the_command_draws_a_series(tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct")
    seg = write_seg(case, tmp_path / "seg.dcm")
    figure = tmp_path / "figure.png"
    drawn = run(case.folder, "--mask", seg, "-o", figure, "--view", "overlay", "--dpi", 40)
    assert drawn.exit_code == 0, drawn.output
    assert figure.stat().st_size > 1000
    refused = run(case.folder, "--mask", seg, "-o", tmp_path / "b.png", "--series", "8")
    assert refused.exit_code == 1
    assert "no series 8; there is: series-3-" in refused.stderr
