"""DICOM series in folders of folders: which become jobs, and what is said of the rest."""

from pathlib import Path

import numpy as np

from lits_runtime.finding.find import find_scans
from lits_runtime.finding.left_out import log_lines
from lits_runtime.volumes.scan import Scan
from support.dicom.ct import body_hu, save, set_all, slices_of, uid
from support.dicom.objects import litter
from support.files.scans import write_scan


def test_each_axial_series_is_found_among_other_files(tmp_path: Path) -> None:
    write_scan(tmp_path / "nifti/volume-1.nii.gz")
    hu = body_hu()
    save(slices_of(hu), tmp_path / "Doe^Jane/1.2.840.113619.2.55.3/CT")
    thick = slices_of(hu, name="thick")
    set_all(thick, SeriesNumber=4)
    save(thick, tmp_path / "other")
    few = slices_of(hu[..., :6], name="few")
    save(few, tmp_path / "few")
    save([*slices_of(hu, name="gap")[:9], *slices_of(hu, name="gap")[11:]], tmp_path / "gap")
    litter(tmp_path / "other")
    found = find_scans(tmp_path)
    assert [path.name for path in found.files] == ["volume-1.nii.gz"]
    assert [one.uid for one in found.series] == [uid("a"), uid("thick")]
    assert np.array_equal(Scan.open(found.series[1]).load().read_slab(0, 24).T[::1], hu)
    lines = "\n".join(log_lines(found.left_out))
    assert "6 slices, fewer than 10" in lines
    assert "structures: an RT structure set, not CT" in lines
    (lost,) = (one for one in found.left_out if one.lost)
    assert lost.path == tmp_path and "2 slices are missing" in lost.why
    assert "few: " not in lines and "other/" not in lines  # folders are named for patients
    assert uid("few") not in lines and "1.2.840.113619.2.55.3" not in lines
