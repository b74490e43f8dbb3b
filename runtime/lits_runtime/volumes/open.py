"""Opening sources and sinks: which format a path, an open file, an image or an array has."""

import io
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib.util import find_spec
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from lits_runtime.errors import VolumeError
from lits_runtime.files.atomic import NewFile, NewFiles
from lits_runtime.files.stable_file import FileState, StableFile
from lits_runtime.messages import printable, without_uids
from lits_runtime.volumes.foreign_formats import BYTES, is_dicom
from lits_runtime.volumes.library_errors import as_volume_error
from lits_runtime.volumes.memory import FORMS, MemorySource, image_of_array
from lits_runtime.volumes.names import pair_paths, volume_ending
from lits_runtime.volumes.nifti.reader import NiftiFile
from lits_runtime.volumes.nifti.source import NiftiSource
from lits_runtime.volumes.nifti.writer import NiftiSink
from lits_runtime.volumes.source import Content, LabelSink, VolumeSource

if TYPE_CHECKING:
    from lits_runtime.volumes.dicom.find import FoundSeries
    from lits_runtime.volumes.dicom.series import Series
    from lits_runtime.volumes.dicom.source import DicomSource

logger = logging.getLogger(__name__)

_SLAB = 16


def open_source(given: Any, state: FileState | None = None) -> VolumeSource:
    """Read the header of a path, a DICOM series, an open file, a nibabel image, or (HU, affine).

    Args:
        given: see `memory.FORMS`; a `Series` of `dicom.find` too. A path may be that of a folder,
            ZIP archive or DICOMDIR with DICOM series, of which the most fitting is taken.
        state: of the file at a path, when it was looked at before; it must still be so.

    Raises:
        VolumeError: not a readable 3D volume.
        FileNotFoundError: there is no such file.
    """
    if isinstance(given, SpatialImage):
        return MemorySource(given, name_of(given), origins(given))
    if isinstance(given, tuple):
        return MemorySource(image_of_array(given), "array", origins(given))
    if isinstance(given, str | PathLike):
        path = path_of(given)
        if state is not None:  # before a parser sees what may have become of the file
            with StableFile(path, state).opened():
                pass
        if fspath(given) and is_dicom_input(path):
            return open_dicom(path)
        return NiftiSource(NiftiFile.open(path), origins(path), state)
    if type(given).__name__ == "Series" and hasattr(given, "slices"):
        return _dicom_source(given)
    return NiftiSource(NiftiFile.open(seekable(given)), origins(given))


def is_dicom_input(path: Path) -> bool:
    """Whether a path is a folder or ZIP archive, or a file that begins as a DICOM object does.

    A path with the ending of NIfTI is none, whatever it holds.
    """
    if volume_ending(path.name):  # the reader of NIfTI says what it is
        return False
    if path.is_dir():
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(BYTES)
    return is_dicom(start) or start[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def open_dicom(
    path: Path, wanted: str | None = None, *, fill_missing: bool = False
) -> "DicomSource":
    """The wanted or most fitting DICOM series in a folder, archive, DICOMDIR or file.

    Args:
        path: to search.
        wanted: a UID or number, see `dicom.choice.choose_series`.
        fill_missing: interpolate single missing slices.

    Raises:
        VolumeError: there is none, or the [dicom] extra is not installed.
    """
    name = without_uids(str(path))
    return _dicom_source(choose_dicom([path], wanted, fill_missing=fill_missing, name=name))


def choose_dicom(
    paths: Sequence[Path],
    wanted: str | None = None,
    *,
    fill_missing: bool = False,
    name: str = "",
) -> "Series":
    """The wanted or most fitting DICOM series, with a line in the log that says why.

    Args:
        paths: folders, archives, a DICOMDIR, or files.
        wanted: a UID or number, see `dicom.choice.choose_series`.
        fill_missing: interpolate single missing slices.
        name: of what was searched, for messages.

    Raises:
        VolumeError: there is none, or the [dicom] extra is not installed.
    """
    found = find_dicom(paths, fill_missing=fill_missing)
    from lits_runtime.volumes.dicom.choice import choose_series

    chosen = choose_series(found, wanted, name)
    logger.info("%s", chosen.reason)
    return chosen.series


def find_dicom(paths: Sequence[Path], *, fill_missing: bool = False) -> "FoundSeries":
    """All DICOM series in what is given; see `dicom.find.find_series`.

    Raises:
        VolumeError: the [dicom] extra is not installed.
    """
    if find_spec("pydicom") is None:
        raise VolumeError(
            "DICOM needs pydicom, which is not installed: pip install 'lits-toolkit[dicom]'"
        )
    from lits_runtime.volumes.dicom.find import find_series

    return find_series(paths, fill_missing=fill_missing)


def _dicom_source(series: "Series") -> "DicomSource":
    from lits_runtime.volumes.dicom.source import DicomSource

    return DicomSource(series)


def open_sink(file: NewFile, source: VolumeSource, content: Content) -> LabelSink:
    """A mask of a scan, in the format that the name of its file asks for.

    Args:
        file: of `NewFiles`, whose target has a name that `names.is_written` accepts.
        source: of the scan; a mask in its own format takes its header.
        content: what the values mean.
    """
    return NiftiSink(file, source, content)


def save_labels(
    path: Path, labels: NDArray[np.uint8], source: VolumeSource, content: Content
) -> None:
    """Write a mask that is held in memory, (i, j, k) as its scan is stored; whole or not at all."""
    canonical = source.geometry.to_canonical(labels)
    with NewFiles() as new:
        with closing(open_sink(new.open(path), source, content)) as sink:
            for start, stop in source.geometry.slab_ranges(_SLAB):
                sink.put(start, canonical[start:stop])
            sink.finish()
        new.close()
        new.take_names()


def name_of(image: SpatialImage) -> str:
    """The name of a nibabel image for messages: its file, if it has one."""
    name = image.get_filename()
    return name if isinstance(name, str) and name else "image"


def path_of(source: str | PathLike[str]) -> Path:
    """A file name as a path.

    Raises:
        VolumeError: it cannot be a file name.
    """
    try:
        path = Path(os.fsdecode(source))
    except TypeError as error:  # `__fspath__` returned something else
        raise VolumeError(f"a path of type {type(source).__name__}: {error}") from error
    with as_volume_error(printable(str(path)), "not a path"):
        path.is_file()  # raises if the name has a NUL
    return path


def seekable(source: Any) -> BinaryIO:
    """A seekable binary file object: the source itself, or its content in memory.

    Raises:
        VolumeError: the source is nothing that `Scan.open` accepts.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        raise VolumeError(f"a scan as {type(source).__name__}: {FORMS}; wrap bytes in io.BytesIO")
    if isinstance(source, io.TextIOBase):
        raise VolumeError("a scan from a file opened as text: open it with 'rb'")
    if not (callable(getattr(source, "read", None)) and callable(getattr(source, "seek", None))):
        what = "an array without an affine" if hasattr(source, "__array__") else "a scan"
        raise VolumeError(f"{what}, of type {type(source).__name__}: {FORMS}")
    with as_volume_error("file object", "not readable"):
        content: BinaryIO = source if source.seekable() else io.BytesIO(source.read())
        return content


def origins(source: Any) -> tuple[Path, ...]:
    """Absolute paths of the files behind what `Scan.open` accepts; empty for plain values.

    A path may stand for a pair. Open files have names, nibabel images a file map, and memory-mapped
    arrays a file.

    >>> origins("/scans/a.hdr")
    (PosixPath('/scans/a.hdr'), PosixPath('/scans/a.img'))
    """
    return tuple(dict.fromkeys(path.absolute() for path in _paths(source)))


def _paths(source: Any) -> Iterator[Path]:
    if isinstance(source, str | bytes | PathLike):
        yield from pair_paths(Path(os.fsdecode(source)))
    elif isinstance(source, tuple):
        yield from _mapped(source[0] if source else None)
    elif (file_map := getattr(source, "file_map", None)) is not None:  # nibabel's images
        for holder in file_map.values():
            yield from _paths_of_holder(holder)
        yield from _mapped(getattr(source, "dataobj", None))
    elif isinstance(name := getattr(source, "name", None), str):  # open files
        yield Path(name)


def _paths_of_holder(holder: Any) -> Iterator[Path]:
    for name in (getattr(holder, "filename", None), getattr(holder.fileobj, "name", None)):
        if isinstance(name, str | PathLike):
            yield Path(fspath(name))


def _mapped(values: Any) -> Iterator[Path]:
    """The file of a memory-mapped array, or of the one that an array is a view of."""
    while values is not None:
        if isinstance(name := getattr(values, "filename", None), str | PathLike):
            yield Path(fspath(name))
        values = getattr(values, "base", None)
