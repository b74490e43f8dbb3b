"""The digest by which records know a file, or a pair of files."""

import hashlib
from pathlib import Path

from lits_runtime.errors import VolumeError
from lits_runtime.files.regular_file import hash_content, open_regular
from lits_runtime.volumes.names import pair_paths, volume_ending


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, or of header and voxels of a pair: what a complete pass over it gives.

    Of a DICOM series, in a folder or archive, it is that of its objects, one after the other.

    Raises:
        VolumeError: not a regular file.
        OSError: it is missing, or may not be read.
    """
    if not volume_ending(path.name):
        from lits_runtime.volumes.open import is_dicom_input, open_dicom

        if is_dicom_input(path):
            return open_dicom(path).content_sha256()
    digest = hashlib.sha256()
    for part in pair_paths(path):
        with open_regular(part, VolumeError) as file:
            hash_content(file, digest)
    return digest.hexdigest()
