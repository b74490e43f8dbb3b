"""Which scans a command line means, and where the mask of each goes."""

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lits_runtime.names import printable

NIFTI_ENDINGS = (".nii", ".nii.gz")
SCAN_PATTERNS = ("*.nii", "*.nii.gz")


@dataclass(frozen=True)
class Job:
    """One scan and the files to make of it."""

    scan: Path
    mask: Path
    probability: Path | None = None


def plan(
    scans: Sequence[Path],
    output: Path | None = None,
    *,
    pattern: str | None = None,
    probability: Path | None = None,
) -> list[Job]:
    """Jobs for files and folders, each once, in a stable order.

    Args:
        scans: files, or folders that are searched for .nii and .nii.gz. Left out there are hidden
            files, LiTS's segmentation-*, and masks of scans that are found too.
        output: None: each mask beside its scan, as SCAN_mask.nii.gz. A name that ends in .nii or
            .nii.gz: the mask of the only scan. Else a folder, in which the tree is mirrored.
        pattern: of file names in folders, as in a shell, in place of the usual endings.
        probability: as `output`.

    Raises:
        ValueError: nothing found, two scans with one mask, a mask that is a scan.
    """
    found = _found(scans, output, pattern)
    single = len(found) == 1 and not scans[0].is_dir()
    jobs = [
        Job(
            scan,
            _target(scan, place, output, "mask", single),
            None if probability is None else _target(scan, place, probability, "prob", single),
        )
        for scan, place in found.items()
    ]
    masks = {job.mask.resolve() for job in jobs}
    named = {path.resolve() for path in scans}
    kept = [job for job in jobs if job.scan.resolve() not in masks or job.scan.resolve() in named]
    _check(kept)
    return kept


def read_list(lines: Iterable[str]) -> list[Path]:
    """Paths from lines; empty lines and those that begin with # are passed over."""
    stripped = (line.rstrip("\r\n") for line in lines)
    return [Path(line) for line in stripped if line.strip() and not line.startswith("#")]


def shard(jobs: Sequence[Job], which: str) -> list[Job]:
    """Every N-th job from the I-th on, by "I/N" with I from 1 to N.

    Raises:
        ValueError: not of that form.
    """
    number, _, total = which.partition("/")
    if not (number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise ValueError(f"shard {which!r}: expected I/N with I from 1 to N, for example 1/4")
    return list(jobs[int(number) - 1 :: int(total)])


def stem(path: Path) -> str:
    """The name without NIfTI's endings.

    >>> stem(Path("a/scan.v2.nii.gz"))
    'scan.v2'
    """
    name = path.name.removesuffix(".gz")
    return name.removesuffix(".nii").removesuffix(".img").removesuffix(".hdr")


def _found(scans: Sequence[Path], output: Path | None, pattern: str | None) -> dict[Path, Path]:
    """Scans with their folder relative to the folder that was named."""
    found: dict[Path, Path] = {}
    for path in scans:
        if not path.is_dir():
            found.setdefault(path, Path())
            continue
        patterns = (pattern,) if pattern else SCAN_PATTERNS
        within = sorted(file for file in path.rglob("*") if _is_scan(file, path, patterns, output))
        if not within:
            raise ValueError(f"{printable(str(path))}: no scan in this folder ({patterns})")
        for file in within:
            found.setdefault(file, file.parent.relative_to(path))
    return found


def _is_scan(file: Path, folder: Path, patterns: Sequence[str], output: Path | None) -> bool:
    relative = file.relative_to(folder)
    if any(part.startswith(".") for part in relative.parts) or not file.is_file():
        return False
    if output is not None and output != folder and output in file.parents:
        return False
    if file.name.startswith("segmentation-"):
        return False
    return any(fnmatch.fnmatchcase(file.name, pattern) for pattern in patterns)


def _target(scan: Path, place: Path, output: Path | None, what: str, single: bool) -> Path:
    name = f"{stem(scan)}_{what}.nii.gz"
    if output is None:
        return scan.with_name(name)
    if output.name.endswith(NIFTI_ENDINGS) and not output.is_dir():
        if not single:
            raise ValueError(f"{output}: one file for several scans; give a folder")
        return output
    if output.suffix in (".gz", ".png", ".nrrd", ".mha", ".dcm", ".img", ".hdr"):
        raise ValueError(f"{output}: expected a folder, or a name ending in .nii or .nii.gz")
    return output / place / name


def _check(jobs: Sequence[Job]) -> None:
    scans = {job.scan.resolve(): job.scan for job in jobs}
    by_file: dict[Path, Path] = {}
    for job in jobs:
        for file in (job.mask, job.probability):
            if file is None:
                continue
            if file.resolve() in scans:
                raise ValueError(f"{printable(str(file))}: would overwrite the scan")
            other = by_file.setdefault(file.resolve(), job.scan)
            if other != job.scan or (file is job.probability and file.resolve() == job.mask):
                raise ValueError(
                    f"{printable(str(file))} would come from both {printable(str(other))} and "
                    f"{printable(str(job.scan))}; rename one, or give separate outputs"
                )
