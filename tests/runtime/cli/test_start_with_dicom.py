"""lits-infer on NIfTI where the DICOM extra is installed: it loads nothing of it."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np

from support.files.scans import LPS_AFFINE, load_nifti, random_hu

EXTENSION = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + bytes(6)
"""A DICOM data set, as a converter may leave it in a header."""


def test_nifti_is_segmented_without_pydicom(tiny_model_path: Path, tmp_path: Path) -> None:
    image = nib.Nifti1Image(random_hu((12, 11, 6)), LPS_AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension(2, EXTENSION))
    nib.save(image, tmp_path / "scan.nii")
    arguments = [tmp_path / "scan.nii", "-m", tiny_model_path, "-o", tmp_path / "mask.nii"]
    code = (
        "import sys; sys.argv[0] = 'lits-infer'\n"
        "from lits_runtime.cli.infer import main\n"
        "status = main(standalone_mode=False)\n"
        "print(status, {'pydicom', 'highdicom'} & set(sys.modules))\n"
        "import pydicom"
    )
    command = [sys.executable, "-c", code, *map(str, arguments), "--provider", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "set()", done.stdout
    (kept,) = load_nifti(tmp_path / "mask.nii").header.extensions
    assert kept.get_code() == 2
    assert (tmp_path / "mask.nii").read_bytes()[352 : 352 + 40].count(EXTENSION[:18]) == 1
    assert np.asarray(load_nifti(tmp_path / "mask.nii").dataobj).shape == (12, 11, 6)
