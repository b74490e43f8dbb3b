"""File names of volumes: their endings, and the two files of a pair."""

from collections.abc import Sequence
from pathlib import Path

from lits_runtime.messages import printable

WRITTEN = (".nii.gz", ".nii")
"""Endings of the files that masks are written to, the usual one first."""
WRITTEN_WORDS = ".nii or .nii.gz"
SCAN_NAMES = ".nii, .nii.gz, .hdr with .img"
"""What names of scans end in, for messages."""
_READ = (*WRITTEN, ".hdr", ".img", ".hdr.gz", ".img.gz")


def stem_and_ending(name: str) -> tuple[str, str]:
    """A file name without its volume ending, and that ending, in upper or lower case.

    >>> stem_and_ending("scan.v2.NII.gz"), stem_and_ending("scan.txt")
    (('scan.v2', '.NII.gz'), ('scan.txt', ''))
    """
    ending = volume_ending(name)
    return name[: len(name) - len(ending)], ending


def volume_ending(name: str) -> str:
    """The ending that makes a name that of a volume, or of half a pair; empty if there is none."""
    lower = name.lower()
    for ending in _READ:
        if lower.endswith(ending):
            return name[len(name) - len(ending) :]
    return ""


def is_written(name: str) -> bool:
    """Whether a name has an ending, in upper or lower case, of a format that masks are written in.

    >>> is_written("mask.NII.gz"), is_written("mask.hdr")
    (True, False)
    """
    return name.lower().endswith(WRITTEN)


def is_dicom_name(name: str) -> bool:
    """Whether a name has the ending of DICOM objects that we write, in upper or lower case."""
    return name.lower().endswith(".dcm")


def is_gzip(path: Path) -> bool:
    """Whether a file is gzip by its name."""
    return path.suffix.lower() == ".gz"


def pair_paths(path: Path) -> tuple[Path, ...]:
    """The files of a volume: the path alone, or .hdr and .img.

    >>> pair_paths(Path("scans/a.img"))
    (PosixPath('scans/a.hdr'), PosixPath('scans/a.img'))
    """
    return tuple(dict.fromkeys(header_and_voxels(path)))


def header_and_voxels(path: Path) -> tuple[Path, Path]:
    """The file with the header and the file with the voxels: one and the same but for a pair."""
    stem, ending = stem_and_ending(path.name)
    half, gz = ending[:4], ending[4:]
    if half.lower() not in (".hdr", ".img"):
        return path, path
    other = {".hdr": ".img", ".img": ".hdr"}[half.lower()]
    partner = path.with_name(stem + (other.upper() if half.isupper() else other) + gz)
    return (path, partner) if other == ".img" else (partner, path)


def without_halves(names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The volumes among the names in a folder, one for each pair, and what is wrong with the rest.

    >>> without_halves(["a.nii", "b.hdr", "b.img", "c.img"])
    (['a.nii', 'b.hdr'], {'c.img': 'half of a pair: there is no c.hdr'})
    """
    kept, alone, halves = [], {}, {name.lower() for name in names}
    for name in names:
        stem, ending = stem_and_ending(name)
        half, gz = ending.lower()[:4], ending[4:]
        if half not in (".hdr", ".img"):
            kept.append(name)
            continue
        other = stem + (".img" if half == ".hdr" else ".hdr") + gz
        if other.lower() not in halves:
            alone[name] = f"half of a pair: there is no {printable(other)}"
        elif half == ".hdr":
            kept.append(name)
    return kept, alone


def is_damaged_name(name: str) -> bool:
    """Whether more follows a volume ending: a copy (scan.nii.gz.1), or part of a download."""
    return ".nii" in name.lower() and not volume_ending(name)
