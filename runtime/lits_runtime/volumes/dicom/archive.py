"""ZIP archives as sources of DICOM objects: what is in them, within limits; nothing is unpacked."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from lits_runtime.errors import VolumeError
from lits_runtime.files.stable_file import FileState
from lits_runtime.messages import without_uids
from lits_runtime.volumes.dicom.stored import MAX_OBJECT_BYTES, Member, Stored

MAX_MEMBERS = 100_000
MAX_TOTAL_BYTES = 2**36
"""Of all members, inflated: several studies of thousands of slices."""
_ENCRYPTED = 1


def is_archive(path: Path) -> bool:
    """Whether a regular file begins as a ZIP archive does."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def members(path: Path) -> Iterator[Stored]:
    """The files in an archive, as its directory lists them.

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
    for one in listed:
        if one.is_dir() or not one.file_size:
            continue
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
        member = Member(one.filename, one.header_offset, *sizes, one.CRC, deflated)
        yield Stored(path, state, member)
