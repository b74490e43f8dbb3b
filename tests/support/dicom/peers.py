"""What other readers make of the faulty series, as a table for docs/dicom/README.md.

    python -m support.dicom.peers PEERS_PYTHON [WORD]

PEERS_PYTHON is an interpreter with SimpleITK and dicom2nifti, and with dcm2niix beside it.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lits_runtime import LitsError
from lits_runtime.volumes.dicom.find import find_series
from lits_runtime.volumes.dicom.source import DicomSource
from lits_runtime.volumes.scan import Scan
from support.dicom.ct import AFFINE, body_hu, slices_of
from support.dicom.faults import FAULTS, Truth, Volume
from support.dicom.htj2k import SHAPE
from support.dicom.syntaxes import WRITERS

SIMPLEITK = """
import sys, SimpleITK as sitk
reader = sitk.ImageSeriesReader()
for number, uid in enumerate(reader.GetGDCMSeriesIDs(sys.argv[1])):
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(sys.argv[1], uid))
    sitk.WriteImage(reader.Execute(), f"{sys.argv[2]}/{number}.nii.gz")
"""
DICOM2NIFTI = """
import sys, dicom2nifti
dicom2nifti.convert_directory(sys.argv[1], sys.argv[2], reorient=False)

"""
NEAR_MM = 0.01
_LIMIT_S = 120


def commands(python: str) -> dict[str, Callable[[Path, Path], list[str]]]:
    """How each peer converts a folder into NIfTI files of another."""
    tool = str(Path(python).parent / "dcm2niix")
    return {
        "SimpleITK": lambda given, to: [python, "-c", SIMPLEITK, str(given), str(to)],
        "dcm2niix": lambda given, to: [tool, "-z", "n", "-f", "%s_%p", "-o", str(to), str(given)],
        "dicom2nifti": lambda given, to: [python, "-c", DICOM2NIFTI, str(given), str(to)],
    }


def outcome(command: Sequence[str], to: Path, truth: Truth) -> str:
    """What a peer made of a series, in a few words."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S)
    scans = list[Scan]()
    for path in sorted(to.glob("*.nii*")):
        try:
            scans.append(Scan.open(path).load())
        except LitsError as error:
            return f"not one volume ({str(error).rpartition(': ')[2][:40]})"
    failed = f", exit status {done.returncode}" if done.returncode else ""
    if not scans:
        return f"nothing{failed}" if failed else "nothing, exit status 0"
    as_many = truth.volumes and len(scans) == len(truth.volumes)
    if as_many and all(any(same(scan, one) for scan in scans) for one in truth.volumes):
        return "right"
    return "; ".join(map(in_words, scans)) + failed


def same(scan: Scan, truth: Volume) -> bool:
    """Whether a volume has the HU of the truth, in the same place."""
    hu, affine = truth
    true = Scan.open((hu, affine)).load()
    if not scan.geometry.same_grid(true.geometry, NEAR_MM):
        return False
    slices = true.geometry.canonical_shape[0]
    return np.array_equal(
        np.maximum(scan.read_slab(0, slices), -1024), np.maximum(true.read_slab(0, slices), -1024)
    )


def in_words(scan: Scan) -> str:
    """Slices and steps of a volume that is not as it should be."""
    slices, step = scan.geometry.canonical_shape[0], scan.geometry.canonical_spacing_mm[0]
    values = scan.read_slab(0, slices)
    return f"wrong: {slices} slices of {step:.3f} mm, mean {values.mean():.0f}"


def ours(given: Path, truth: Truth) -> str:
    """What we make of a series; it is asserted in the tests too."""
    found = find_series(given, **truth.options)
    try:
        scans = [Scan(DicomSource(one)).load() for one in found.series]
    except LitsError as error:
        return f"refused: {error}"
    if found.refused:
        return f"refused: {found.refused[0].why}"
    right = len(scans) == len(truth.volumes) and all(map(same, scans, truth.volumes))
    several = f", {len(scans)} volumes" if len(scans) > 1 else ""
    return f"right{several}" if right else "wrong"


def main(python: str, wanted: str = "") -> None:
    """Print one row for each series, or for those whose names contain a word."""
    makers: dict[str, Callable[[Path], Truth]] = dict(FAULTS)
    hu = body_hu(SHAPE)
    for name, write in WRITERS.items():
        makers[name] = lambda to, write=write: (  # type: ignore[misc]
            write(slices_of(hu), to),
            Truth(((hu, AFFINE),)),
        )[1]
    for name, make in makers.items():
        if wanted not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            given = Path(folder) / "series"
            truth = make(given)
            row = {"fault": name, "lits-toolkit": ours(given, truth)}
            for peer, command in commands(python).items():
                to = Path(folder) / peer
                to.mkdir()
                row[peer] = outcome(command(given, to), to, truth)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
