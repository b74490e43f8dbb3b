"""The digest by which records know a file, a pair of files, or a DICOM series."""

import hashlib
from pathlib import Path

from lits_runtime.errors import VolumeError
from lits_runtime.files.regular_file import hash_content, open_regular
from lits_runtime.volumes.names import pair_paths, volume_ending


def scan_sha256(path: Path) -> str:
    """What a complete pass over a scan gives: SHA-256 of its file, or of header and voxels.

    Of a DICOM series, in a folder or archive, it is that of its objects, one after the other.

    Raises:
        VolumeError: not a regular file.
        OSError: it is missing, or may not be read.
    """
    if not volume_ending(path.name):
        from lits_runtime.volumes.open import is_dicom_input, open_dicom

        if is_dicom_input(path):
            return open_dicom(path).content_sha256()
    return file_sha256(path)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, or of header and voxels of a pair.

    Raises:
        VolumeError: not a regular file.
        OSError: it is missing, or may not be read.
    """
    digest = hashlib.sha256()
    for part in pair_paths(path):
        with open_regular(part, VolumeError) as file:
            hash_content(file, digest)
    return digest.hexdigest()
