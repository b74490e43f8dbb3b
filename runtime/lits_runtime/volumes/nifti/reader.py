"""NIfTI files from untrusted sources: the header is checked before any voxels are read."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import nibabel as nib
import numpy as np
from nibabel.fileslice import fileslice
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from lits_runtime.errors import VolumeError
from lits_runtime.files.inflate import gunzip, inflated
from lits_runtime.files.regular_file import HashedFile, Watched, hash_content, open_regular
from lits_runtime.files.stable_file import StableFile
from lits_runtime.messages import printable
from lits_runtime.volumes.foreign_formats import BYTES, misnamed, refusal
from lits_runtime.volumes.library_errors import as_volume_error
from lits_runtime.volumes.names import header_and_voxels, is_gzip
from lits_runtime.volumes.nifti.grid import pixdim_notes
from lits_runtime.volumes.nifti.header import read_header
from lits_runtime.volumes.nifti.voxel_offset import true_offset, voxel_bytes
from lits_runtime.volumes.nifti.voxel_stream import VoxelStream

MAX_HEADER_BYTES = 2**24
"""Header and extensions; the largest known hold a DICOM header of some hundred kilobytes."""
_MOST_BYTES_PER_BYTE = 1040  # deflate expands by 1032:1 at most

_CLASSES: dict[bytes, Any] = {
    b"n+1\0": nib.Nifti1Image,
    b"ni1\0": nib.Nifti1Pair,
    b"n+2\0": nib.Nifti2Image,
    b"ni2\0": nib.Nifti2Pair,
}
ByteSource: TypeAlias = "Path | BinaryIO"


@dataclass(frozen=True)
class NiftiFile:
    """A NIfTI-1 or NIfTI-2 file, single or pair, with its header, which was read and checked."""

    name: str
    """For messages: free of control characters."""
    image_class: Any
    header: Any
    """nibabel's, with extensions."""
    offset: int
    """Where the voxels begin, which need not be where the header says; see `true_offset`."""
    header_source: ByteSource
    voxel_source: ByteSource
    start: bytes = b""
    """Header and extensions as read."""
    watched: Watched = field(default_factory=Watched)
    notes: tuple[str, ...] = ()
    """What is odd about the header as stored."""

    @classmethod
    def open(cls, source: ByteSource) -> "NiftiFile":
        """Read the header of a path, or of a binary file object that can seek.

        Raises:
            VolumeError: not NIfTI, or the header is damaged or larger than `MAX_HEADER_BYTES`.
            FileNotFoundError: there is no such file.
        """
        name = printable(str(source if isinstance(source, Path) else _file_name(source)))
        header_source, voxel_source = _pair(source)
        watched = Watched()
        with (
            as_volume_error(name, "not a readable NIfTI volume"),
            _decompressed(header_source, watched) as stream,
        ):
            start = stream.read(BYTES)
            image_class = _CLASSES.get(start[344:348]) or _CLASSES.get(start[4:8])
            if image_class is None:
                raise VolumeError(f"{name}: not a readable NIfTI volume: {refusal(start)}")
            kind = image_class.header_class
            if isinstance(source, Path) and kind.is_single != (header_source is voxel_source):
                form = "one file (.nii)" if kind.is_single else "a pair (.hdr and .img)"
                raise VolumeError(f"{name}: its header is that of {form}, which its name denies")
            size = kind.template_dtype.itemsize
            header = kind(start[:size], check=False)
            notes = tuple(pixdim_notes(header))
            end, offset = _header_end(header, source, name)
            stored = start[:end] + stream.read(max(end - len(start), 0))
            header = read_header(kind, header.binaryblock + stored[size:])
            _check_fields(header)
            offset = header.get_data_offset() if offset is None else offset
        sources = (header_source, voxel_source)
        return cls(name, image_class, header, offset, *sources, stored, watched, notes)

    def image(self) -> Any:
        """A nibabel image of the file that reads values on demand."""
        files = {}
        with as_volume_error(self.name, "not a readable NIfTI volume"):
            if isinstance(self.voxel_source, Path):
                voxels: Any = str(self.voxel_source)
                files = self.image_class.filespec_to_file_map(voxels)
            else:
                self.voxel_source.seek(0)
                voxels = inflated(self.voxel_source)
            # `from_filename` would read the header again, and with it megabytes of a gzip.
            header = self.header
            layout = (header.get_data_shape(), header.get_data_dtype(), self.offset)
            proxy = self.image_class.ImageArrayProxy(voxels, (*layout, *header.get_slope_inter()))
            affine = self.header.get_best_affine()
            header = self.header.copy()
            header["vox_offset"] = 0  # the proxy has it, and nibabel warns about odd ones
            return self.image_class(proxy, affine, header, file_map=files or None)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(i, j, k): the first three dimensions; any others must be 1."""
        i, j, k = map(int, self.header.get_data_shape()[:3])
        return i, j, k

    def scaled(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Stored numbers scaled by the header's slope and intercept, as nibabel does."""
        slope, intercept = self.header.get_slope_inter()
        if slope is None or (slope == 1 and intercept == 0):
            return raw
        with np.errstate(over="ignore", invalid="ignore"):  # infinite values are refused later
            scaled: NDArray[Any] = apply_read_scaling(
                raw, np.asanyarray(slope), np.asanyarray(intercept)
            )
        return scaled

    def cut(self, voxels: StableFile, index: tuple[slice, ...]) -> NDArray[Any]:
        """A part of the voxels as stored, unscaled.

        Args:
            voxels: the file with the voxels.
            index: along the stored axes (i, j, k).

        Raises:
            VolumeError: the file has changed since it was first read.
            ValueError, EOFError, zlib.error: it is truncated or damaged.
        """
        dtype = self.header.get_data_dtype()
        with voxels.opened(compressed=is_gzip(voxels.path)) as file:
            values: NDArray[Any] = fileslice(file, index, self.shape, dtype, self.offset, order="F")
        return values

    @contextmanager
    def voxels(self) -> Iterator["VoxelStream"]:
        """Open the voxels for one pass.

        Raises:
            VolumeError: the file is too small for what its header says.
        """
        digest = hashlib.sha256()
        if self.header_source is not self.voxel_source:
            header_path = cast(Path, self.header_source)
            with open_regular(header_path) as file:
                self.watched.see(header_path, file)
                hash_content(file, digest)
        needed = self.offset + voxel_bytes(self.header)
        with (
            as_volume_error(self.name, "truncated or damaged"),
            _decompressed(self.voxel_source, self.watched, digest) as stream,
        ):
            held = _most_bytes(self.voxel_source)
            if held < needed:
                raise VolumeError(
                    f"{self.name}: truncated or damaged: the header needs {needed} bytes, the "
                    f"file holds at most {held}"
                )
            single = self.header_source is self.voxel_source
            for place in range(0, self.offset, 2**16):
                piece = stream.read(min(2**16, self.offset - place))
                if single and piece != self.start[place : place + 2**16]:
                    raise VolumeError(f"{self.name}: changed while it was read: another header")
            plane = (self.shape[1], self.shape[0])
            yield VoxelStream(self.name, plane, self.header.get_data_dtype(), stream, digest)


def _header_end(header: Any, source: ByteSource, name: str) -> tuple[int, int | None]:
    """Where header and extensions end at most, and where voxels begin if the header is wrong."""
    size = int(header.template_dtype.itemsize)
    end, offset = int(header.get_data_offset()) if header.is_single else MAX_HEADER_BYTES, None
    if 0 <= end < size + 4:
        end = offset = true_offset(header, source, name)
        header["vox_offset"] = size + 4
    if not size <= end <= MAX_HEADER_BYTES:
        raise VolumeError(
            f"{name}: not a readable NIfTI volume: voxels from byte {end} on, expected {size} to "
            f"{MAX_HEADER_BYTES}"
        )
    return end, offset


def _check_fields(header: Any) -> None:
    """Let nibabel raise now, not later, what it cannot make of a field."""
    header.get_data_shape()
    header.get_data_dtype()
    header.get_best_affine()
    header.get_slope_inter()


@contextmanager
def _decompressed(source: ByteSource, watched: Watched, digest: Any = None) -> Iterator[BinaryIO]:
    """The content of a file, decompressed if it is gzip; a caller's file object stays open."""
    file = open_regular(source) if isinstance(source, Path) else source
    try:
        if isinstance(source, Path):
            watched.see(source, file)
        file.seek(0)
        start = file.read(BYTES)
        compressed = start[:2] == b"\x1f\x8b"
        if isinstance(source, Path) and compressed != is_gzip(source):
            why = misnamed(start, source.name)
            raise VolumeError(f"{printable(str(source))}: not a readable NIfTI volume: {why}")
        file.seek(0)
        raw = file
        if digest is not None:
            raw = cast(BinaryIO, io.BufferedReader(HashedFile(file, digest), 2**18))
        yield gunzip(raw) if compressed else raw
        if isinstance(source, Path):
            watched.still(source, file)
    except Exception:
        if isinstance(source, Path):
            watched.still(source, file)  # else a file that has changed would be called damaged
        raise
    finally:
        if isinstance(source, Path):
            file.close()


def _most_bytes(source: ByteSource) -> int:
    if isinstance(source, Path):
        size, compressed = source.stat().st_size, is_gzip(source)
    else:
        here = source.tell()
        size = source.seek(0, io.SEEK_END)
        source.seek(0)
        compressed = source.read(2) == b"\x1f\x8b"
        source.seek(here)
    return size * (_MOST_BYTES_PER_BYTE if compressed else 1)


def _file_name(file: BinaryIO) -> str:
    return name if isinstance(name := getattr(file, "name", None), str) else "file object"


def _pair(source: ByteSource) -> tuple[ByteSource, ByteSource]:
    """Where header and voxels are: the same but for .hdr with .img."""
    return header_and_voxels(source) if isinstance(source, Path) else (source, source)
