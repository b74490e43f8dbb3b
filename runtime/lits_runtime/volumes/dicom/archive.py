"""ZIP archives as sources of DICOM objects: what is in them, within limits; nothing is unpacked."""

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lits_runtime.errors import VolumeError
from lits_runtime.files.regular_file import open_regular
from lits_runtime.files.stable_file import FileState
from lits_runtime.messages import without_uids

MAX_OBJECT_BYTES = 2**32
"""Of one object: an enhanced CT of 4096 slices of 512 x 512 has half of it."""
MAX_MEMBERS = 100_000
MAX_TOTAL_BYTES = 2**36
"""Of all members, inflated: several studies of thousands of slices."""
_ENCRYPTED = 1
_PIECE = 2**18


@dataclass(frozen=True)
class Member:
    """Where an object lies in a ZIP archive."""

    name: str
    """For messages; it never becomes the path of a file."""
    at: int
    packed: int
    size: int
    crc: int
    deflated: bool


def is_archive(path: Path) -> bool:
    """Whether a regular file begins as a ZIP archive does."""
    with open_regular(path) as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def members(path: Path) -> tuple[FileState, list[Member]]:
    """The files in an archive, as its directory lists them, and the state of the archive.

    Raises:
        VolumeError: not a readable archive, encrypted, or beyond the limits.
    """
    name = without_uids(str(path))
    try:
        with zipfile.ZipFile(path) as archive:
            state = FileState.of(archive.fp)  # type: ignore[arg-type]
            listed = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise VolumeError(f"{name}: not a readable ZIP archive; copy it again") from error
    if len(listed) > MAX_MEMBERS or sum(one.file_size for one in listed) > MAX_TOTAL_BYTES:
        raise VolumeError(
            f"{name}: over {MAX_MEMBERS} files or {MAX_TOTAL_BYTES} bytes in the ZIP archive; "
            "unpack the series that you need"
        )
    return state, [_member(one, name) for one in listed if one.file_size and not one.is_dir()]


def _member(one: zipfile.ZipInfo, name: str) -> Member:
    if one.flag_bits & _ENCRYPTED:
        raise VolumeError(f"{name}: an encrypted ZIP archive; unpack it first")
    if one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise VolumeError(
            f"{name}: a ZIP archive compressed by another method than deflate; unpack it first"
        )
    if one.file_size > MAX_OBJECT_BYTES:
        raise VolumeError(f"{name}: a file of {one.file_size} bytes in the ZIP archive")
    deflated = one.compress_type == zipfile.ZIP_DEFLATED
    sizes = one.compress_size, one.file_size
    return Member(one.filename, one.header_offset, *sizes, one.CRC, deflated)


def read_member(file: IO[bytes], member: Member, count: int) -> Iterator[bytes]:
    """The first bytes of a member of an archive; all of it is checked against its CRC."""
    name = without_uids(Path(member.name).name)
    damaged = VolumeError(f"{name}: the ZIP archive is damaged; copy it again")
    file.seek(member.at)
    local = file.read(30)
    if local[:4] != b"PK\x03\x04" or len(local) < 30:
        raise damaged
    names = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    file.seek(member.at + 30 + names)
    left, have, crc = member.packed, 0, 0
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    while have < count:
        packed = inflater.unconsumed_tail or file.read(min(left, _PIECE))
        if not packed or inflater.eof:
            raise damaged
        try:
            left -= 0 if inflater.unconsumed_tail else len(packed)
            most = min(_PIECE, count - have)
            piece = inflater.decompress(packed, most) if member.deflated else packed[:most]
        except zlib.error:
            raise damaged from None
        have, crc = have + len(piece), zlib.crc32(piece, crc)
        yield piece
    if count == member.size and crc != member.crc:
        raise damaged
