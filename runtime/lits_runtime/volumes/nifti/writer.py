"""Writing a mask on the scan's own grid, under the scan's own header."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from isal import igzip
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from lits_runtime.files.atomic import NewFile, atomic_path
from lits_runtime.volumes.names import is_gzip

_GZIP_LEVEL = 1  # masks are long runs: higher levels are slower and save little


def mask_image(stored: NDArray[Any], scan: SpatialImage) -> nib.Nifti1Image:
    """A NIfTI image of a mask, uint8 (i, j, k), with the header and affine of its scan.

    Kept are affine, sform and qform codes, units, description and extensions. The scaling is reset:
    under a CT header's slope a label 2 reads back as 2.00007 (nipy/nibabel#1069).
    """
    kind: Any = (
        nib.Nifti2Image if isinstance(scan, nib.Nifti2Pair | nib.Nifti2Image) else nib.Nifti1Image
    )
    image: nib.Nifti1Image = kind(np.asarray(stored, np.uint8), scan.affine, _single(scan, kind))
    image.header.set_data_dtype(np.uint8)
    image.header.set_slope_inter(1, 0)
    image.header["cal_min"] = image.header["cal_max"] = 0
    return image


def write_image(image: nib.Nifti1Image, path: Path) -> None:
    """Write .nii or .nii.gz atomically; equal images give equal bytes.

    Raises:
        ValueError: `path` ends otherwise.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"{path}: expected a name ending in .nii or .nii.gz")
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
        _compressed(path, file) as stream,
    ):
        image.to_stream(cast(Any, stream))


def stream_image(image: nib.Nifti1Image, file: NewFile) -> None:
    """Write to a file of `NewFiles`, whose target ends in .nii or .nii.gz."""
    with _compressed(file.target, file) as stream:
        image.to_stream(cast(Any, stream))


@contextmanager
def mask_writer(
    file: NewFile, shape: tuple[int, int, int], scan: SpatialImage, slope: float = 1.0
) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Write a uint8 volume run by run along its slowest axis.

    Args:
        file: of `NewFiles`, whose target ends in .nii or .nii.gz; it is left open.
        shape: (i, j, k) of the volume.
        scan: whose header and affine the file takes.
        slope: what a stored 1 stands for.

    Yields:
        A function that takes the next planes, uint8 (i, j, n).
    """
    header = mask_image(np.broadcast_to(np.uint8(0), shape), scan).header
    header.set_slope_inter(slope, 0)
    start = io.BytesIO()
    header.write_to(start)
    with _compressed(file.target, file) as stream:
        stream.write(start.getvalue().ljust(header.get_data_offset(), b"\0"))

        def write(planes: NDArray[np.uint8]) -> None:
            for plane in planes.T:
                stream.write(np.ascontiguousarray(plane).data)

        yield write


@contextmanager
def _compressed(path: Path, file: Any) -> Iterator[BinaryIO]:
    """Gzip into a file if its name says so."""
    if is_gzip(path):
        gzip: Any = igzip.IGzipFile
        with gzip("", "wb", _GZIP_LEVEL, file, mtime=0) as stream:
            yield stream
    else:
        yield file


def _single(scan: SpatialImage, kind: Any) -> Any:
    """The scan's header as that of a single file of the same NIfTI version; None if not NIfTI."""
    if not isinstance(scan, nib.Nifti1Pair):
        return None
    header = kind.header_class(scan.header.binaryblock, scan.header.endianness, check=False)
    header["magic"], header["vox_offset"] = header.single_magic, 0
    header.extensions = scan.header.extensions.copy()
    return header
