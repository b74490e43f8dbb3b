"""Random access to files that may be replaced or truncated meanwhile: a read fails, it never hangs.

A file is opened for each read and closed after it. Nothing is mapped into memory, where truncating
the file would kill the process (SIGBUS). No C library keeps offsets into a file that may since have
been replaced, which makes indexed_gzip loop for ever or crash.
"""

import bisect
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from lits_runtime.errors import VolumeError
from lits_runtime.files.regular_file import open_regular
from lits_runtime.messages import printable

_COMPRESSED_PIECE = 2**14
"""Compressed bytes to read at a time. They expand to 16 MB at most, usually to some 30 kB."""
_BETWEEN_POINTS = 2**22
"""Bytes between two points where decompression can begin. A point takes about 40 kB."""


@dataclass(frozen=True)
class FileState:
    """Size and date of a file, by which a change is noticed.

    The inode is left out: some network file systems give a new one each time a file is opened.
    """

    size: int
    """Bytes."""
    mtime_ns: int

    @classmethod
    def of(cls, file: BinaryIO) -> "FileState":
        """The state of an open file."""
        status = os.fstat(file.fileno())
        return cls(status.st_size, status.st_mtime_ns)


class StableFile:
    """A file, gzip or plain, for random access, which must not change between reads.

    No file stays open, so instances can be sent to other processes, and there may be thousands.
    """

    def __init__(self, path: Path, state: FileState | None = None) -> None:
        """Open nothing yet.

        Args:
            path: of the file.
            state: the state that the file must have; None: that of the first read.
        """
        self.path, self.state = path, state
        self._points: list[_Point] = []

    @contextmanager
    def opened(self, *, compressed: bool = False, buffering: int = -1) -> Iterator[BinaryIO]:
        """The content of the file, decompressed if need be, for reads at any position.

        Args:
            compressed: whether the file is gzip.
            buffering: as in `open`.

        Raises:
            VolumeError: the file had changed before the reads, or has changed after them.
            OSError: it is missing, or may not be read.
        """
        with open_regular(self.path, buffering=buffering) as file:
            self._check(file)
            try:
                yield cast(BinaryIO, _Inflated(file, self._points)) if compressed else file
            except (OSError, ValueError, zlib.error, EOFError):
                self._check(file)  # a change is the better reason
                raise
            self._check(file)

    def _check(self, file: BinaryIO) -> None:
        found = FileState.of(file)
        self.state = self.state or found
        if found != self.state:
            self._points.clear()
            raise VolumeError(
                f"{printable(str(self.path))}: changed while in use: {self.state.size} bytes "
                f"became {found.size}"
                + ("" if found.size != self.state.size else ", with another date")
            )

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "state": self.state, "_points": []}


@dataclass(frozen=True)
class _Point:
    """A point where decompression can begin."""

    position: int
    """In the decompressed content."""
    compressed_position: int
    decoder: Any
    """zlib's, in its state at this point."""


class _Inflated(io.RawIOBase):
    """The decompressed content of an open gzip file, with random access.

    A read starts at the last point before its position. Each round of the loop consumes bytes of
    the file or ends, so that no damage can make it hang.
    """

    def __init__(self, file: BinaryIO, points: list[_Point]) -> None:
        self._file, self._points = file, points
        if not points:
            points.append(_Point(0, 0, zlib.decompressobj(wbits=31)))
        self._position = 0
        self._held, self._held_from = b"", 0
        self._start(points[0])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position relative to the start or to here; the end is not known."""
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("seek from the end of compressed content")
        self._position = max(offset + (self._position if whence == io.SEEK_CUR else 0), 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view):
            piece = self._piece()
            if not piece:
                break
            count = min(len(piece), len(view) - filled)
            view[filled : filled + count] = piece[:count]
            filled += count
            self._position += count
        return filled

    def _piece(self) -> memoryview:
        """What is decompressed from the position on: at least a byte, or nothing at the end."""
        reach = self._held_from + len(self._held)
        if not self._held_from <= self._position <= reach + _BETWEEN_POINTS:
            places = [point.position for point in self._points]
            self._start(self._points[bisect.bisect_right(places, self._position) - 1])
        while self._position >= self._held_from + len(self._held):
            if not self._inflate():
                return memoryview(b"")
        return memoryview(self._held)[self._position - self._held_from :]

    def _start(self, point: _Point) -> None:
        self._file.seek(point.compressed_position)
        self._decoder = point.decoder.copy()
        self._held, self._held_from = b"", point.position
        self._waiting = b""

    def _inflate(self) -> bool:
        """Decompress the next piece in place of the last; False at the end of the file."""
        self._held_from += len(self._held)
        self._held = b""
        compressed = self._waiting or self._file.read(_COMPRESSED_PIECE)
        self._waiting = b""
        if not compressed:
            if not self._decoder.eof:
                raise EOFError("the compressed stream ends before its end mark")
            return False
        if self._decoder.eof:  # another gzip member follows, or padding
            compressed = compressed.lstrip(b"\0")
            if not compressed:
                return True
            self._decoder = zlib.decompressobj(wbits=31)
        self._held = self._decoder.decompress(compressed)
        self._waiting = self._decoder.unused_data
        reach = self._held_from + len(self._held)
        if reach >= self._points[-1].position + _BETWEEN_POINTS and not self._decoder.eof:
            self._points.append(_Point(reach, self._file.tell(), self._decoder.copy()))
        return True
