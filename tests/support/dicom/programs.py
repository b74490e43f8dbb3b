"""The field's own programs for DICOM objects: dciodvfy, dcmtk, dcmqi."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lits_runtime.volumes.geometry import Geometry
from support.files.scans import load_nifti


def run(program: str, *arguments: object) -> str:
    """What a program says; the test is skipped if it is not installed."""
    beside = Path(sys.executable).with_name(program)
    found = shutil.which(program, path="/usr/bin") or (str(beside) if beside.exists() else None)
    if found is None:
        pytest.skip(f"{program} is not installed")
    command = [found, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 or program == "dciodvfy", done.stderr
    return done.stdout + done.stderr


def broken_rules(path: Path) -> list[str]:
    """What dciodvfy finds wrong with an object."""
    told = run("dciodvfy", path)
    return [line for line in told.splitlines() if line.startswith(("Error", "Abort"))]


def segments_by_dcmqi(path: Path, folder: Path) -> list[tuple[NDArray[Any], Geometry]]:
    """The volumes that dcmqi makes of a Segmentation, one or several segments in each."""
    folder.mkdir()
    run("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", folder, "-t", "nii")
    images = [load_nifti(one) for one in sorted(folder.glob("*.nii.gz"))]
    return [
        (np.asarray(one.dataobj), Geometry(one.shape, np.asarray(one.affine))) for one in images
    ]


def report_by_dcmqi(path: Path, folder: Path) -> Any:
    """What dcmqi reads in a structured report."""
    metadata = folder / "report.json"
    run("tid1500reader", "--inputDICOM", path, "--outputMetadata", metadata)
    return json.loads(metadata.read_text())
