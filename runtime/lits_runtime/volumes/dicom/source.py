"""A DICOM series as a source of voxels."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import VolumeError
from lits_runtime.volumes.dicom.pixels.decode import stored_values
from lits_runtime.volumes.dicom.pixels.hounsfield import hu_dtype, padding_is_applied, to_hu
from lits_runtime.volumes.dicom.series import Series, SliceHeader
from lits_runtime.volumes.dicom.stored import Stored, digest_of, plain
from lits_runtime.volumes.source import Verified


class DicomSource:
    """CT slices in files, an archive or a multi-frame object; see `VolumeSource`.

    Slices are decoded one by one. `Planes.read` gives HU, since slope and intercept may differ from
    slice to slice.
    """

    in_memory = False

    def __init__(self, series: Series, name: str | None = None) -> None:
        """Read nothing yet.

        Args:
            series: whose headers were read.
            name: for messages, in place of the series' own.
        """
        self.series, self.name = series, name or series.name
        self.geometry = series.geometry
        self.notes = (*series.notes, *_padding_note(series))
        self.dtype: np.dtype[Any] = np.result_type(*{hu_dtype(one) for one in series.slices})

    @property
    def origins(self) -> tuple[Path, ...]:
        """Its files, or its archive."""
        return tuple(path.absolute() for path in self.series.files)

    @property
    def size_bytes(self) -> int | None:
        """Of its objects, compressed as they may be."""
        return sum(stored.size for stored in self.series.objects)

    @contextmanager
    def planes(self) -> Iterator["_SlicePlanes"]:
        """Begin a pass."""
        with ExitStack() as files:
            yield _SlicePlanes(self, files)

    def read(self, index: tuple[slice, slice, slice]) -> NDArray[Any]:
        """Any part, in HU; whole slices are decoded for it."""
        i, j, k = index
        wanted = range(*k.indices(len(self.series.slices)))
        with ExitStack() as files:
            slices = _Slices(self, files, None)
            cut = [np.array(slices.hu(one)[j, i]) for one in wanted]
        if not cut:
            return np.zeros((len(self.series.slices), 0, 0), self.dtype).T[i, j, k]
        return np.stack(cut).T

    def content_sha256(self) -> str:
        """What a complete pass gives, without decoding."""
        return digest_of(self.series.objects)

    def to_hu(self, stored: NDArray[Any]) -> NDArray[Any]:
        """The same: slices are rescaled as they are read."""
        return stored

    def close(self) -> None:
        """Files are open during a pass or a read only."""


class _SlicePlanes:
    """One pass; see `Planes`."""

    def __init__(self, source: DicomSource, files: ExitStack) -> None:
        self._source, self._position = source, 0
        self._digest = hashlib.sha256()
        self._slices = _Slices(source, files, self._digest)

    def read(self, count: int) -> NDArray[Any]:
        first, self._position = self._position, self._position + count
        i, j, _ = self._source.geometry.shape
        planes = np.empty((count, j, i), self._source.dtype)
        for place in range(count):
            planes[place] = self._slices.hu(first + place)
        planes.flags.writeable = False
        return planes

    def finish(self) -> Verified:
        self._slices.close()
        return Verified(self._digest.hexdigest())


class _Slices:
    """Decodes slices, and keeps the object that the last one came from open."""

    def __init__(self, source: DicomSource, files: ExitStack, digest: Any) -> None:
        self._slices, self._dtype, self._digest = source.series.slices, source.dtype, digest
        self._name = source.name
        self._files = files.enter_context(ExitStack())
        self._open: tuple[Stored, IO[bytes], int] | None = None
        self._hashed: set[Stored] = set()
        self._last: dict[int, NDArray[Any]] = {}
        """By index: the slices that an interpolation is between."""

    def hu(self, index: int) -> NDArray[Any]:
        """Slice `index`, (rows, columns)."""
        if not self._slices[index].filled:
            self._last = {k: hu for k, hu in self._last.items() if k > index}
            return self._existing(index)
        below = next(k for k in range(index, -1, -1) if not self._slices[k].filled)
        above = next(k for k in range(index, len(self._slices)) if not self._slices[k].filled)
        if not {below, above} <= self._last.keys():
            self._last = {k: self._existing(k) for k in (below, above)}
        part = (index - below) / (above - below)
        between = (1 - part) * self._last[below] + part * self._last[above]
        if self._dtype.kind == "i":
            between = np.rint(between)
        return between.astype(self._dtype)

    def _existing(self, index: int) -> NDArray[Any]:
        if index in self._last:
            return self._last[index]
        header = self._slices[index]
        try:
            file, size = self._opened(header)
            return to_hu(stored_values(header, file, size), header, self._dtype)
        except VolumeError as error:
            raise VolumeError(f"{self._name}: {error}") from error

    def _opened(self, header: SliceHeader) -> tuple[IO[bytes], int]:
        stored = header.stored
        if self._open is None or self._open[0] != stored:
            self.close()
            file = self._files.enter_context(stored.opened())
            if self._digest is not None and stored not in self._hashed:
                self._hashed.add(stored)
                while piece := file.read(2**20):
                    self._digest.update(piece)
                file.seek(0)
            file = self._files.enter_context(plain(file, stored.name))
            size = file.seek(0, 2)
            self._open = stored, file, size
        return self._open[1], self._open[2]

    def close(self) -> None:
        """Let go of the object, and check that it is as it was."""
        self._open = None
        self._files.close()


def _padding_note(series: Series) -> tuple[str, ...]:
    if all(map(padding_is_applied, series.slices)):
        return ()
    return ("the padding value lies among those of tissue, and is not taken for air",)
