"""Formats that we do not read, recognised by first bytes or by ending, and how to convert them."""

import struct
import zlib
from collections.abc import Iterable
from itertools import chain

from lits_runtime.messages import printable
from lits_runtime.volumes.names import is_damaged_name

BYTES = 544
"""How many of the first bytes are needed."""

_CONVERT = "convert it to NIfTI, for example with SimpleITK or 3D Slicer"
_GUNZIP = "decompress it, or compress it with gzip"

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a git-LFS pointer in place of the file; run git lfs pull"),
    (b"/annex/objects/", "a git-annex pointer in place of the file; run git annex get"),
    (b"NRRD000", f"NRRD; {_CONVERT}"),
    (b"ObjectType = ", f"MetaImage (.mha, .mhd); {_CONVERT}"),
    (b"NDims = ", f"MetaImage (.mha, .mhd); {_CONVERT}"),
    (b"\x89HDF\r\n\x1a\n", f"HDF5, as MINC 2 and MATLAB write it; {_CONVERT}"),
    (b"CDF\x01", "NetCDF, as MINC 1 writes it; convert it with mnc2nii"),
    (b"CDF\x02", "NetCDF, as MINC 1 writes it; convert it with mnc2nii"),
    (b"MATLAB 5.0", "a MATLAB file; save the volume as NIfTI (niftiwrite)"),
    (b"\x93NUMPY", "a NumPy array; save it with its affine (nibabel.save)"),
    (b"PK\x03\x04", "a ZIP archive; unpack it"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (b"Rar!\x1a\x07", "a RAR archive; unpack it"),
    (b"\x28\xb5\x2f\xfd", f"compressed by zstd; {_GUNZIP}"),
    (b"BZh", f"compressed by bzip2; {_GUNZIP}"),
    (b"\xfd7zXZ\0", f"compressed by xz; {_GUNZIP}"),
    (b"\x04\x22\x4d\x18", f"compressed by lz4; {_GUNZIP}"),
    (b"\x1f\x9d", f"compressed by compress (.Z); {_GUNZIP}"),
    (b"LZIP", f"compressed by lzip; {_GUNZIP}"),
    (b"\x89PNG\r\n", "a PNG picture, no CT volume"),
    (b"\xff\xd8\xff", "a JPEG picture, no CT volume"),
    (b"GIF8", "a GIF picture, no CT volume"),
    (b"II*\0", "a TIFF picture, no CT volume"),
    (b"MM\0*", "a TIFF picture, no CT volume"),
    (b"%PDF", "a PDF"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture, no CT volume"),
)
_DICOM = "DICOM; name the folder of its series, or give it a name without this ending"
_WEB_PAGES = (b"<!doctype html", b"<html", b"<head", b"<body")


_ENDINGS = {
    "NRRD": (".nrrd", ".nhdr"),
    "MetaImage": (".mha", ".mhd"),
    "FreeSurfer's": (".mgz", ".mgh"),
    "DICOM": (".dcm", ".dicom", ".ima"),
    "MINC": (".mnc", ".mnc.gz"),
    "compressed otherwise than by gzip": (".nii.zst", ".nii.bz2", ".nii.xz", ".nii.zip", ".nii.7z"),
    "GIPL": (".gipl", ".gipl.gz"),
}


def by_ending(name: str) -> str | None:
    """Why a file is left out whose name has the ending of another image format; else None.

    >>> by_ending("ct.mha"), by_ending("ct.nii")
    ('MetaImage, not NIfTI; convert it to NIfTI', None)
    """
    lower = name.lower()
    for what, endings in _ENDINGS.items():
        if lower.endswith(endings):
            how = "it with dcm2niix" if what == "DICOM" else "it to NIfTI"
            return f"{what}, not NIfTI; convert {how}"
    return "a copy or part of a file, by its ending" if is_damaged_name(name) else None


def kind_of(start: bytes) -> str | None:
    """The format of a file by its first `BYTES` bytes, and how to convert it; None if unknown."""
    for kind in (_by_start, _dicom, _mgh, _analyze, _gzip, _empty, _text):
        if found := kind(start):
            return found
    return None


def refusal(start: bytes) -> str:
    """Why a file with these first bytes is refused, as the end of a message."""
    kind = kind_of(start)
    return f"it is {kind}" if kind else "no NIfTI magic bytes, and no other known format"


def misnamed(start: bytes, name: str) -> str:
    """Why a file is refused that is gzip although its name denies it, or the reverse."""
    compressed = start[:2] == b"\x1f\x8b"
    inside = inflated_start(start) if compressed else start
    if compressed and _is_nifti(inside):
        return f"it is gzip, which its name denies; rename it to {printable(name)}.gz"
    if _is_nifti(inside):
        return f"it is not gzip, which its name denies; rename it to {printable(name[:-3])}"
    if compressed and not kind_of(inside):
        return "it is gzip, which its name denies, and holds no NIfTI magic bytes"
    return refusal(start)


def _is_nifti(start: bytes) -> bool:
    return start[344:348] in (b"n+1\0", b"ni1\0") or start[4:8] in (b"n+2\0", b"ni2\0")


def inflated_start(start: bytes) -> bytes:
    """The first decompressed bytes of a gzip file, of which only the first bytes are given."""
    try:
        return zlib.decompressobj(wbits=31).decompress(start, BYTES)
    except zlib.error:
        return b""


def _by_start(start: bytes) -> str | None:
    for magic, kind in _STARTS:
        if start.startswith(magic):
            return kind
    return "a tar archive; unpack it" if start[257:262] == b"ustar" else None


def _dicom(start: bytes) -> str | None:
    return _DICOM if is_dicom(start) else None


def is_dicom(start: bytes) -> bool:
    """Whether a file with these first bytes is a DICOM object, with or without a meta header."""
    if start[128:132] == b"DICM":
        return True
    # Without the preamble: the first element is of group 2 or 8, its value representation known.
    group, element = struct.unpack("<HH", start[:4]) if len(start) > 8 else (0, 0)
    named = start[4:6] in (b"UL", b"UI", b"CS", b"OB", b"SH", b"DA")
    implicit = group == 8 and element in (0, 1, 5, 8, 22) and start[6:8] == b"\0\0"
    return group in (2, 8) and element < 0x100 and (named or implicit)


def _mgh(start: bytes) -> str | None:
    if len(start) < 28:
        return None
    version, *sizes, frames, kind, _ = struct.unpack(">7i", start[:28])
    if version == 1 and all(0 < size < 2**15 for size in sizes) and frames > 0 and kind in range(8):
        return "FreeSurfer's MGH (.mgh, .mgz); convert it with mri_convert"
    return None


def _analyze(start: bytes) -> str | None:
    if len(start) >= 348 and 348 in struct.unpack("<i", start[:4]) + struct.unpack(">i", start[:4]):
        return (
            "an Analyze 7.5 header with no NIfTI magic bytes, which does not tell left from right; "
            "convert the original to NIfTI"
        )
    return None


def _gzip(start: bytes) -> str | None:
    if start[:2] != b"\x1f\x8b":
        return None
    inside = inflated_start(start)
    if _is_nifti(inside) or inside[:2] == b"\x1f\x8b":
        return "compressed by gzip twice; decompress it once"
    within = kind_of(inside) if inside else None
    return f"compressed by gzip, and inside: {within}" if within else "compressed by gzip"


def _empty(start: bytes) -> str | None:
    if not start:
        return "an empty file"
    if not any(start):
        return "zeros where a header should be, as a broken copy or a full disk leaves them"
    return None


def _text(start: bytes) -> str | None:
    lower = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if lower.startswith(_WEB_PAGES) or (lower.startswith(b"<?xml") and b"<html" in lower):
        return "a web page, perhaps from a failed download or a log-in; download the file again"
    if lower.startswith(b"<"):
        return "XML"
    if lower.startswith((b"{", b"[")) and _is_text(start):
        return "JSON"
    return "text" if _is_text(start) else None


def _is_text(start: bytes) -> bool:
    shown: Iterable[int] = chain(b"\t\n\r\f", range(32, 127), range(128, 256))
    return not set(start) - set(shown)
