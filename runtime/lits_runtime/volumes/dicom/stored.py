"""DICOM objects as they are stored, in files or ZIP archives: their bytes, and their header."""

import hashlib
import io
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from lits_runtime.errors import LitsError, VolumeError
from lits_runtime.files.stable_file import FileState, StableFile
from lits_runtime.messages import without_uids
from lits_runtime.volumes.foreign_formats import is_dicom

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_OBJECT_BYTES = 2**32
"""Of one object: an enhanced CT of 4096 slices of 512 x 512 has half of it."""
MAX_HEADER_BYTES = 2**27
"""Before the pixels: the functional groups of thousands of frames take some megabytes."""
_FIRST_BYTES = 2**14
"""Usual headers take a few kilobytes; longer ones are read again, whole."""
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_PIXEL_DATA = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
_UNDEFINED = 0xFFFFFFFF
_LIBRARY = threading.RLock()


@dataclass(frozen=True)
class Member:
    """Where an object lies in a ZIP archive."""

    name: str
    """For messages; it is no path of a file, and never becomes one."""
    at: int
    packed: int
    size: int
    crc: int
    deflated: bool


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

    def read(self, start: int = 0, count: int = MAX_OBJECT_BYTES) -> bytes:
        """Bytes of the object, fewer at its end.

        Raises:
            VolumeError: the file is not as it was, or the archive is damaged.
        """
        count = max(0, min(count, self.size - start))
        with StableFile(self.path, self.state).opened() as file:
            if self.member is None:
                file.seek(start)
                return file.read(count)
            return _of_member(file, self.member, start + count)[start:]

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The object as a binary file.

        Raises:
            VolumeError: the file is not as it was, or the archive is damaged.
        """
        if self.member is not None:
            yield io.BytesIO(self.read())
            return
        with StableFile(self.path, self.state).opened() as file:
            yield file

    def hash_into(self, digest: Any) -> None:
        """Update a digest with the whole object."""
        with self.opened() as file:
            while piece := file.read(2**20):
                digest.update(piece)


@dataclass(frozen=True)
class Header:
    """The header of an object, and where its pixels lie."""

    dataset: Any
    """pydicom's."""
    transfer_syntax_uid: str
    pixels_at: tuple[int, int] | None
    """First byte and number of bytes, in `plain_object`; None if they are encapsulated."""
    has_pixels: bool


def stored_file(path: Path) -> Stored:
    """A file as it is now.

    Raises:
        OSError: it is missing, or may not be read.
    """
    status = path.stat()
    return Stored(path, FileState(status.st_size, status.st_mtime_ns))


def plain_object(stored: Stored) -> bytes:
    """The whole object, inflated if its transfer syntax is the deflated one."""
    content = stored.read()
    begin = _deflated_at(content[:_FIRST_BYTES])
    if begin is None:
        return content
    try:
        return _inflated(content, begin, MAX_HEADER_BYTES)
    except zlib.error as error:
        raise VolumeError(f"{stored.name}: damaged DICOM (its deflated part)") from error


def read_header(stored: Stored, tags: list[int] | None = None) -> Header:
    """The header of an object, without pixels.

    Args:
        stored: which object.
        tags: to read; None: all.

    Raises:
        VolumeError: not DICOM, or damaged.
    """
    start = stored.read(0, _FIRST_BYTES)
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


def digest_of(objects: "tuple[Stored, ...]") -> str:
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


def _header(stored: Stored, start: bytes, tags: list[int] | None) -> Header | None:
    begin = _deflated_at(start)
    if begin is not None:
        inflated = _inflated(stored.read(), begin, MAX_HEADER_BYTES)
        return _parsed(inflated, tags, _DEFLATED.decode())
    header = _parsed(start, tags)
    if header is None and stored.size > len(start):
        header = _parsed(stored.read(0, MAX_HEADER_BYTES), tags)
    return header or None


def _parsed(content: bytes, tags: list[int] | None, syntax: str = "") -> Header | None:
    """The header of an object that begins with these bytes; None if it goes on after them."""
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    stream = io.BytesIO(content)
    dataset = dcmread(stream, stop_before_pixels=True, force=True, specific_tags=tags)
    implicit, little = dataset.original_encoding
    syntax = syntax or str(getattr(dataset.file_meta, "TransferSyntaxUID", "") or "")
    if not syntax:  # no meta header: pydicom has found out how the elements are encoded
        plain = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        syntax = ImplicitVRLittleEndian if implicit else plain
    dataset.file_meta.TransferSyntaxUID = syntax
    here = stream.tell()
    element = content[here : here + 12]
    if element[:4] not in _PIXEL_DATA:
        return Header(dataset, syntax, None, False) if here >= len(content) else None
    explicit = element[4:6] in (b"OW", b"OB", b"UN")
    begin, length = (here + 12, element[8:12]) if explicit else (here + 8, element[4:8])
    count = int.from_bytes(length, "little" if little else "big")
    return Header(dataset, syntax, None if count == _UNDEFINED else (begin, count), True)


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


def _inflated(content: bytes, begin: int, most: int) -> bytes:
    """The elements behind a meta header, inflated up to a limit.

    Raises:
        zlib.error: the stream is damaged.
        VolumeError: there is more.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(content[begin:], most)
    if inflater.unconsumed_tail:
        raise VolumeError(f"an object of more than {most} bytes, inflated: not a CT slice")
    return inflated


def _of_member(file: BinaryIO, member: Member, count: int) -> bytes:
    """The first bytes of a member of an archive; the whole of it is checked against its CRC."""
    file.seek(member.at)
    local = file.read(30)
    if local[:4] != b"PK\x03\x04":
        raise VolumeError(f"{without_uids(member.name)}: the ZIP archive is damaged")
    names = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    file.seek(member.at + 30 + names)
    if not member.deflated:
        content = file.read(min(count, member.size))
    else:
        inflater, pieces, have = zlib.decompressobj(-zlib.MAX_WBITS), list[bytes](), 0
        left = member.packed
        while have < count and left > 0 and not inflater.eof:
            packed = file.read(min(left, 2**16))
            left -= len(packed) or left
            pieces.append(_piece(inflater, packed, count - have, member))
            have += len(pieces[-1])
        content = b"".join(pieces)
    if len(content) < min(count, member.size) or (
        count >= member.size and zlib.crc32(content) != member.crc
    ):
        raise VolumeError(f"{without_uids(member.name)}: the ZIP archive is damaged")
    return content


def _piece(inflater: Any, packed: bytes, most: int, member: Member) -> bytes:
    try:
        piece: bytes = inflater.decompress(packed, most)
    except zlib.error as error:
        raise VolumeError(f"{without_uids(member.name)}: the ZIP archive is damaged") from error
    return piece
