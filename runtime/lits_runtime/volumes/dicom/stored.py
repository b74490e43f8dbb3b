"""DICOM objects as they are stored, in files or ZIP archives: their bytes, and their header."""

import hashlib
import io
import tempfile
import threading
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from lits_runtime.errors import LitsError, VolumeError
from lits_runtime.files.stable_file import FileState, StableFile
from lits_runtime.messages import without_uids
from lits_runtime.volumes.dicom.archive import MAX_OBJECT_BYTES, Member, read_member
from lits_runtime.volumes.foreign_formats import is_dicom

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_HEADER_BYTES = 2**27
"""Before the pixels: the functional groups of thousands of frames take some megabytes."""
_FIRST_BYTES = 2**14
"""Usual headers take a few kilobytes; longer ones are read again, whole."""
_PIECE = 2**18
_IN_MEMORY = 2**26
"""Larger objects that must be inflated go to the disk."""
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_PIXEL_DATA = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
_UNDEFINED = 0xFFFFFFFF
_LIBRARY = threading.RLock()


@dataclass(frozen=True)
class Stored:
    """A DICOM object in a file, or in a ZIP archive."""

    path: Path
    state: FileState
    """Of the file or archive when it was first looked at; it must still be so."""
    member: Member | None = None

    @property
    def name(self) -> str:
        """The file's own name, for messages: without folders, which may name a patient."""
        return without_uids(Path(self.member.name if self.member else self.path).name)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.member.size if self.member else self.state.size

    def read(self, count: int) -> bytes:
        """The first bytes of the object, fewer if it ends before.

        Raises:
            VolumeError: the file is not as it was, or the archive is damaged.
        """
        with StableFile(self.path, self.state).opened(buffering=0) as file:
            if self.member is not None:
                return b"".join(read_member(file, self.member, min(count, self.member.size)))
            return _read(file, min(count, self.state.size))

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """The object as a binary file that can seek.

        Raises:
            VolumeError: the file is not as it was, or the archive is damaged.
        """
        with StableFile(self.path, self.state).opened() as file:
            if self.member is None:
                yield file
                return
            with _spooled(read_member(file, self.member, self.member.size)) as content:
                yield content

    def hash_into(self, digest: Any) -> None:
        """Update a digest with the whole object."""
        with self.opened() as file:
            while piece := file.read(_PIECE):
                digest.update(piece)


@dataclass(frozen=True)
class Header:
    """The header of an object, and where its pixels lie."""

    dataset: Any
    """pydicom's."""
    transfer_syntax_uid: str
    pixels_at: tuple[int, int] | None
    """First byte and number of bytes, in `plain`; -1 if they are encapsulated. None without any."""


def stored_file(path: Path) -> Stored:
    """A file as it is now.

    Raises:
        OSError: it is missing, or may not be read.
    """
    status = path.stat()
    return Stored(path, FileState(status.st_size, status.st_mtime_ns))


@contextmanager
def plain(file: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """An object whose elements are inflated, if its transfer syntax is the deflated one.

    Raises:
        VolumeError: the deflated part is damaged, or larger than any CT.
    """
    begin = _deflated_at(file.read(_FIRST_BYTES))
    if begin is None:
        yield file
        return
    file.seek(begin)
    try:
        with _spooled(_inflated(file, name)) as content:
            yield content
    except zlib.error as error:
        raise VolumeError(f"{name}: damaged DICOM (its deflated part)") from error


def read_header(stored: Stored, tags: Sequence[str] | None = None) -> Header:
    """The header of an object, without pixels.

    Args:
        stored: which object.
        tags: to read; None: all.

    Raises:
        VolumeError: not DICOM, or damaged.
    """
    start = stored.read(_FIRST_BYTES)
    if not is_dicom(start):
        raise VolumeError(f"{stored.name}: not DICOM")
    try:
        with quiet():
            header = _header(stored, start, tags)
    except (LitsError, OSError, MemoryError):
        raise
    except Exception as error:  # pydicom raises whatever its parts do
        raise VolumeError(f"{stored.name}: damaged DICOM ({type(error).__name__})") from error
    if header is None:
        raise VolumeError(f"{stored.name}: damaged DICOM (its header does not end)")
    return header


def read_whole_header(stored: Stored) -> "Dataset":
    """All elements of an object but the pixels; see `read_header`."""
    dataset: Dataset = read_header(stored).dataset
    return dataset


def digest_of(objects: Iterable[Stored]) -> str:
    """SHA-256 of the content of objects, one after the other, however they are stored."""
    digest = hashlib.sha256()
    for stored in objects:
        stored.hash_into(digest)
    return digest.hexdigest()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' warnings to ourselves: they quote values, a patient's name among them."""
    with _LIBRARY, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _header(stored: Stored, start: bytes, tags: Sequence[str] | None) -> Header | None:
    if _deflated_at(start) is not None:
        with stored.opened() as file, plain(file, stored.name) as inflated:
            content = inflated.read(MAX_HEADER_BYTES)
        return _parsed(content, tags, _DEFLATED.decode())
    header = _parsed(start, tags)
    if header is None and stored.size > len(start):
        header = _parsed(stored.read(MAX_HEADER_BYTES), tags)
    return header


def _parsed(content: bytes, tags: Sequence[str] | None, syntax: str = "") -> Header | None:
    """The header of an object that begins with these bytes; None if it goes on after them."""
    from pydicom import dcmread
    from pydicom.uid import (
        UID,
        ExplicitVRBigEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
    )

    stream = io.BytesIO(content)
    wanted: Any = tags and _tags(tuple(tags))
    dataset = dcmread(stream, stop_before_pixels=True, force=True, specific_tags=wanted)
    implicit, little = dataset.original_encoding
    syntax = syntax or str(getattr(dataset.file_meta, "TransferSyntaxUID", "") or "")
    if not syntax:  # no meta header: pydicom has found out how the elements are encoded
        plain_syntax = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        syntax = str(ImplicitVRLittleEndian if implicit else plain_syntax)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    here = stream.tell()
    element = content[here : here + 12]
    if element[:4] not in _PIXEL_DATA:
        return Header(dataset, syntax, None) if here == len(content) else None
    explicit = element[4:6] in (b"OW", b"OB", b"UN")
    begin, length = (here + 12, element[8:12]) if explicit else (here + 8, element[4:8])
    count = int.from_bytes(length, "little" if little else "big")
    return Header(dataset, syntax, (begin, -1 if count == _UNDEFINED else count))


@cache
def _tags(keywords: tuple[str, ...]) -> Any:
    from pydicom.tag import Tag

    return [Tag(keyword) for keyword in keywords]


def _deflated_at(start: bytes) -> int | None:
    """Where the deflated part of an object begins; None if it has none."""
    place, syntax = 132, b""
    while start[128:132] == b"DICM" and start[place : place + 2] == b"\x02\0":
        wide = start[place + 4 : place + 6] in (b"OB", b"OW", b"UN", b"UT", b"SQ")
        length = start[place + 8 : place + 12] if wide else start[place + 6 : place + 8]
        value = place + (12 if wide else 8)
        if start[place + 2 : place + 4] == b"\x10\0":
            syntax = start[value : value + len(_DEFLATED)]
        place = value + int.from_bytes(length, "little")
    return place if syntax == _DEFLATED else None


def _read(file: IO[bytes], count: int) -> bytes:
    """Bytes from here on; a raw file may return fewer than asked for at a time."""
    pieces = []
    while count > 0 and (piece := file.read(count)):
        pieces.append(piece)
        count -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@contextmanager
def _spooled(pieces: Iterable[bytes]) -> Iterator[IO[bytes]]:
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as content:
        content.writelines(pieces)
        content.seek(0)
        yield cast(IO[bytes], content)


def _inflated(file: IO[bytes], name: str) -> Iterator[bytes]:
    inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not inflater.eof:
        packed = inflater.unconsumed_tail or file.read(2**14)
        if not packed:
            raise VolumeError(f"{name}: damaged DICOM (its deflated part ends too early)")
        piece = inflater.decompress(packed, _PIECE)
        total += len(piece)
        if total > MAX_OBJECT_BYTES // 4:
            raise VolumeError(f"{name}: over {MAX_OBJECT_BYTES // 4} bytes inflated: no CT slice")
        yield piece
