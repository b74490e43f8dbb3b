"""NIfTI files: masks on the grid of their scan and under its header, and volumes without one."""

import io
from contextlib import suppress
from typing import Any, cast

import nibabel as nib
import numpy as np
from isal import igzip
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from lits_runtime.files.atomic import NewFile
from lits_runtime.volumes.names import is_gzip
from lits_runtime.volumes.scratch import BLOCK_BYTES, Scratch
from lits_runtime.volumes.source import Content, VolumeSource

_GZIP_LEVEL = 1  # masks are long runs of equal values: higher levels are slower and save little


def write_volume(file: NewFile, values: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Write a volume that has no header yet.

    Args:
        file: of `NewFiles`, whose target ends in .nii or .nii.gz.
        values: (i, j, k), of a type that NIfTI has.
        affine: (4, 4) voxel-to-world, mm, RAS+.
    """
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    if is_gzip(file.target):
        with _gzip(file) as stream:
            image.to_stream(stream)
    else:
        image.to_stream(cast(Any, file))


def write_hu(file: NewFile, source: VolumeSource) -> None:
    """Write a volume in HU as int16, plane by plane: memory does not grow with it.

    Args:
        file: of `NewFiles`, whose target ends in .nii or .nii.gz.
        source: of the volume, on whose grid the file is.

    Raises:
        VolumeError: the volume is truncated or damaged.
    """
    shape, affine = source.geometry.shape, source.geometry.affine
    image = nib.Nifti1Image(np.broadcast_to(np.int16(0), shape), affine)
    image.set_sform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    start, limits = io.BytesIO(), np.iinfo(np.int16)
    image.header.write_to(start)
    gzip = _gzip(file) if is_gzip(file.target) else None
    stream: Any = gzip or file
    stream.write(start.getvalue().ljust(image.header.get_data_offset(), b"\0"))
    with source.planes() as planes:
        for _ in range(shape[2]):
            hu = np.clip(source.to_hu(planes.read(1)[0]), limits.min, limits.max)
            stream.write(np.ascontiguousarray(np.rint(hu), "<i2").data)
        planes.finish()
    if gzip is not None:
        gzip.close()


class NiftiSink:
    """A mask in a .nii or .nii.gz file, under its scan's header; see `LabelSink`."""

    def __init__(self, file: NewFile, source: VolumeSource, content: Content) -> None:
        """Write the header.

        Args:
            file: of `NewFiles`; it is left open.
            source: of the scan. If it has a nibabel image the mask takes that header.
            content: what the values mean.
        """
        self._geometry = source.geometry
        shape, axis = source.geometry.shape, source.geometry.canonical_axes[0]
        self._scratch = None if axis == 2 else Scratch(shape, np.uint8, axis, 2)
        header = _mask_header(source, content.slope)
        start = io.BytesIO()
        header.write_to(start)
        self._gzip: Any = _gzip(file) if is_gzip(file.target) else None
        self._stream: Any = self._gzip or file
        self._stream.write(start.getvalue().ljust(header.get_data_offset(), b"\0"))

    def put(self, start: int, labels: NDArray[np.uint8]) -> None:
        """Write canonical slices, or hold them on disk if they are not the slowest stored axis."""
        stored = self._geometry.from_canonical(labels)
        if self._scratch is None:
            self._write(stored)
            return
        axis = self._geometry.canonical_axes[0]
        place = self._geometry.stored_range(start, start + len(labels))[axis]
        self._scratch.put(place.start, stored)

    def finish(self) -> None:
        """Write what was held, and end the gzip stream."""
        if self._scratch is not None:
            i, j, k = self._geometry.shape
            count = max(1, BLOCK_BYTES // (i * j))
            for first in range(0, k, count):
                self._write(self._scratch.take(first, min(first + count, k)))
        if self._gzip is not None:
            self._gzip.close()
            self._gzip = None

    def close(self) -> None:
        """Let go of the scratch file, and of a gzip stream that was not finished."""
        if self._scratch is not None:
            self._scratch.close()
        if self._gzip is not None:
            with suppress(OSError, ValueError):  # its end goes into a file that is not kept
                self._gzip.close()

    def _write(self, stored: NDArray[np.uint8]) -> None:
        for plane in stored.T:
            self._stream.write(np.ascontiguousarray(plane).data)


def _mask_header(source: VolumeSource, slope: float) -> Any:
    """The header of a mask, uint8, from the image of its scan; from the grid if it has no image.

    Affine, sform and qform codes, units, description and extensions are kept. The scaling is reset:
    under a CT header's slope a label of 2 would read 2.00007 (nipy/nibabel#1069).
    """
    zeros = np.broadcast_to(np.uint8(0), source.geometry.shape)
    scan = getattr(source, "image", None)
    affine = scan.affine if isinstance(scan, SpatialImage) else source.geometry.affine
    kind: Any = (
        nib.Nifti2Image if isinstance(scan, nib.Nifti2Pair | nib.Nifti2Image) else nib.Nifti1Image
    )
    header = kind(zeros, affine, _single(scan, kind)).header
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(slope, 0)
    header["cal_min"] = header["cal_max"] = 0
    return header


def _single(scan: Any, kind: Any) -> Any:
    """The scan's header for a single file of the same NIfTI version; None if it is not NIfTI."""
    if not isinstance(scan, nib.Nifti1Pair):
        return None
    header = kind.header_class(scan.header.binaryblock, scan.header.endianness, check=False)
    header["magic"], header["vox_offset"] = header.single_magic, 0
    header.extensions = scan.header.extensions.copy()
    return header


def _gzip(file: Any) -> Any:
    """A gzip stream without name and date, so that equal masks give equal bytes."""
    gzip: Any = igzip.IGzipFile
    return gzip("", "wb", _GZIP_LEVEL, file, mtime=0)
