"""Reading of a DICOM series by us and by others, or its way to SEG and SR; each in a process.

    python -m lits_tools.benchmark.dicom_reading [--slices 500] [--rounds 3] [--peers PYTHON]
    python -m lits_tools.benchmark.dicom_reading --to-objects [--slices 500] [--rounds 3]

The series that is read is made of noise, the one that is segmented of a phantom. PYTHON is an
interpreter that has SimpleITK, and dcm2niix beside it.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

import click
import numpy as np
from numpy.typing import NDArray

from lits_tools.benchmark.measured.scan import benchmark_volume

_BEGIN = "import sys, time; begin = time.perf_counter()\n"
_END = "\nprint(time.perf_counter() - begin)"
_WATCHED = (
    "import resource, subprocess, sys\n"
    "subprocess.run(sys.argv[1:], check=True)\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
)
"""Between this process and the measured one: a peak counts the process that was forked, too."""
READERS = {
    "lits-toolkit, streamed": (
        "from lits_runtime.volumes.scan import Scan\nscan = Scan.open(sys.argv[1])\n"
        "for slab in scan.slabs(4):\n    assert slab.stored.size"
    ),
    "lits-toolkit, whole": (
        "from lits_runtime.volumes.scan import Scan\nassert Scan.open(sys.argv[1]).load()"
    ),
    "pydicom, bare loop": (
        "import pathlib, numpy, pydicom\n"
        "files = [pydicom.dcmread(path) for path in pathlib.Path(sys.argv[1]).iterdir()]\n"
        "files.sort(key=lambda one: float(one.ImagePositionPatient[2]))\n"
        "first = files[0]\n"
        "volume = numpy.empty((len(files), first.Rows, first.Columns), numpy.int16)\n"
        "for place, one in enumerate(files):\n"
        "    volume[place] = one.pixel_array.astype(numpy.int32) + int(one.RescaleIntercept)"
    ),
    "highdicom": (
        "import pathlib, highdicom, numpy, pydicom\n"
        "files = [pydicom.dcmread(path) for path in pathlib.Path(sys.argv[1]).iterdir()]\n"
        "highdicom.get_volume_from_series(files, dtype=numpy.float32)"
    ),
}
PEERS = {
    "SimpleITK": (
        "import SimpleITK\nreader = SimpleITK.ImageSeriesReader()\n"
        "reader.SetFileNames(reader.GetGDCMSeriesFileNames(sys.argv[1]))\n"
        "assert reader.Execute().GetSize()"
    ),
    "dcm2niix": (
        "import pathlib, subprocess, tempfile\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    tool = pathlib.Path(sys.executable).parent / 'dcm2niix'\n"
        "    done = subprocess.run([tool, '-o', folder, sys.argv[1]], capture_output=True)\n"
        "    assert list(pathlib.Path(folder).glob('*.nii'))"
    ),
}


_SEGMENTED = (
    "import pathlib, tempfile\nfrom lits_runtime import Segmenter\n"
    "with tempfile.TemporaryDirectory() as made, Segmenter.open(provider='cpu') as segmenter:\n"
    "    out = pathlib.Path(made)\n"
)
TO_OBJECTS = {
    "series to mask.nii.gz": (
        f"{_SEGMENTED}    segmenter.segment_file(sys.argv[1], out / 'mask.nii.gz')"
    ),
    "series to SEG + SR": (
        f"{_SEGMENTED}    segmenter.segment_file(sys.argv[1], out / 'o', formats=('seg', 'sr'))\n"
        "    assert (out / 'o/seg.dcm').exists() and (out / 'o/sr.dcm').exists()"
    ),
}
"""With the bundled model."""


def noise(slices: int) -> Iterator[NDArray[np.uint16]]:
    """Stored values of slices of 512 x 512, which no codec can compress."""
    random = np.random.default_rng(0)
    for _ in range(slices):
        yield random.integers(0, 4096, (512, 512), np.uint16)


def phantom(slices: int) -> Iterator[NDArray[np.uint16]]:
    """Stored values of slices of a body with a liver."""
    for plane in benchmark_volume(slices).volume_hu.T:
        yield (plane.astype(np.int32) + 1024).astype(np.uint16)


def write_series(folder: Path, planes: Iterable[NDArray[np.uint16]]) -> None:
    """An uncompressed CT of 512 x 512, one file for each slice."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    series, study = generate_uid(), generate_uid()
    for k, pixels in enumerate(planes):
        one = Dataset()
        one.SOPClassUID, one.SOPInstanceUID, one.Modality = CTImageStorage, generate_uid(), "CT"
        one.SeriesInstanceUID, one.StudyInstanceUID, one.FrameOfReferenceUID = series, study, study
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, k], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness, one.InstanceNumber = [0.7, 0.7], 1, k + 1
        one.Rows, one.Columns, one.SamplesPerPixel = 512, 512, 1
        one.PhotometricInterpretation, one.PixelRepresentation = "MONOCHROME2", 0
        one.BitsAllocated, one.BitsStored, one.HighBit = 16, 12, 11
        one.RescaleSlope, one.RescaleIntercept = 1, -1024
        one.add_new("PixelData", "OW", pixels.tobytes())
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)


def measure(python: str, code: str, folder: Path) -> tuple[float, float]:
    """Seconds, imports among them, and peak MB of one reader."""
    measured = [python, "-c", f"{_BEGIN}{code}{_END}", str(folder)]
    command = [sys.executable, "-c", _WATCHED, *measured]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(done.stderr.strip().splitlines()[-1])
    seconds, peak_mb = map(float, done.stdout.split()[-2:])
    return seconds, peak_mb


@click.command()
@click.option("--slices", default=500, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--peers", help="Python with SimpleITK and dcm2niix.")
@click.option("--series", type=click.Path(exists=True, path_type=Path), help="Take this instead.")
@click.option("--to-objects", is_flag=True, help="Measure the whole way to SEG and SR.")
def main(
    slices: int, rounds: int, peers: str | None, series: Path | None, to_objects: bool
) -> None:
    """Print median seconds and peak MB of each reader, or of the way to SEG and SR."""
    own = TO_OBJECTS if to_objects else READERS
    readers = [(name, sys.executable, code) for name, code in own.items()]
    readers += [(name, peers, code) for name, code in PEERS.items() if peers and not to_objects]
    with tempfile.TemporaryDirectory() as made:
        folder = series or Path(made)
        if series is None:
            write_series(folder, phantom(slices) if to_objects else noise(slices))
        found: dict[str, list[tuple[float, float]]] = {name: [] for name, *_ in readers}
        for _ in range(rounds):
            for name, python, code in readers:
                found[name].append(measure(python, code, folder))
    for name, figures in found.items():
        seconds, peak_mb = (median(column) for column in zip(*figures, strict=True))
        click.echo(f"{name:24} {seconds:6.2f} s {peak_mb:6.0f} MB")


if __name__ == "__main__":
    main()
