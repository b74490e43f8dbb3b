"""The jobs of a command line: which scans it names, and where the mask of each goes."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lits_runtime.finding.path_problems import why_no_file
from lits_runtime.messages import printable
from lits_runtime.records.own_outputs import made_by_us
from lits_runtime.volumes.names import WRITTEN, WRITTEN_WORDS, is_written, stem_and_ending

if TYPE_CHECKING:
    from lits_runtime.finding.find import LeftOut

logger = logging.getLogger(__name__)

_NO_FOLDERS = (
    *(".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z", ".hdr", ".img", ".nrrd"),
    *(".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".mnc", ".dcm", ".png", ".jpg", ".jpeg", ".npy"),
    *(".npz", ".h5", ".hdf5", ".json", ".csv", ".txt", ".pdf", ".tif", ".tiff", ".onnx", ".pth"),
)
"""Endings of files that we do not write, and that no folder is given."""


@dataclass(frozen=True)
class Job:
    """One scan and the files to make of it."""

    scan: Path
    mask: Path
    probability: Path | None = None
    problem: str | None = None
    """Why there is nothing to segment under this name; this job then fails, and no other."""

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The mask, and the probabilities before their name is completed by the class."""
        return (self.mask,) if self.probability is None else (self.mask, self.probability)


class Plan(list[Job]):
    """The jobs, and the files in folders that look like scans but were left out."""

    def __init__(self, jobs: Iterable[Job], left_out: "Iterable[LeftOut]" = ()) -> None:
        super().__init__(jobs)
        self.left_out = tuple(left_out)


@dataclass(frozen=True)
class _Name:
    """The name of a scan, or one under which there is none."""

    path: Path
    place: Path = Path()
    """Its folder, relative to the one on the command line."""
    problem: str | None = None


def plan(
    scans: Sequence[Path | str],
    output: Path | None = None,
    *,
    pattern: str | None = None,
    probability: Path | None = None,
) -> Plan:
    """Jobs for files and folders, each scan once, in a stable order.

    A wrong name (missing, unreadable, not a regular file, a folder without scans) gives a job that
    fails, with the reason in `Job.problem`; so does a file in a folder that should be a scan but
    cannot be read. Other files that look like images are left out, logged, and listed in the
    result; see `lits_runtime.finding.find.find_scans`. Whether existing files may be overwritten
    is checked by `job_files`, once the model is known.

    Args:
        scans: files, or folders to search for .nii, .nii.gz, and .hdr with .img.
        output: None: each mask beside its scan, as SCAN_mask.nii.gz. A name that ends in .nii or
            .nii.gz: the mask of the only scan. Otherwise a folder that mirrors the scans' folders.
        pattern: of file names in folders, as in a shell, in place of the usual endings.
        probability: like `output`.

    Raises:
        ValueError: one file for several scans, or an output of another format.
    """
    outputs = [path for path in (output, probability) if path is not None]
    for path in outputs:
        _check_output(path)
    left_out: list[LeftOut] = []
    names = list(_unique(_names(scans, outputs, pattern, left_out), beside=not outputs))
    single = len(names) == 1 and not os.path.isdir(scans[0])
    jobs = [_job(name, output, probability, single) for name in names]
    return Plan(jobs, _logged(left_out, jobs))


def read_list(lines: Iterable[str]) -> list[Path]:
    """Paths from lines; empty lines and those that begin with # are skipped."""
    stripped = (line.rstrip("\r\n") for line in lines)
    return [Path(line) for line in stripped if line.strip() and not line.startswith("#")]


def shard(jobs: Sequence[Job], which: str) -> list[Job]:
    """Every N-th job from the I-th on; `which` is "I/N", with I from 1 to N.

    Raises:
        ValueError: `which` is not of that form.
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
    return stem_and_ending(path.name)[0]


def _names(
    scans: Sequence[Path | str],
    outputs: Sequence[Path],
    pattern: str | None,
    left_out: "list[LeftOut]",
) -> Iterator[_Name]:
    ours = list[_Name]()
    for name in scans:
        path = Path(name)
        if problem := why_no_file(name):
            yield _Name(path, problem=problem)
        elif path.is_dir():
            yield from _in_folder(path, outputs, pattern, left_out)
        elif why := made_by_us(path):
            ours.append(_Name(path, problem=why))
        else:
            yield _Name(path)
    if len(ours) == len(scans):
        yield from ours
    elif ours:  # *.nii.gz in a shell, after the first run
        from lits_runtime.finding.find import LeftOut

        left_out += (LeftOut(name.path, str(name.problem)) for name in ours)


def _in_folder(
    folder: Path, outputs: Sequence[Path], pattern: str | None, left_out: "list[LeftOut]"
) -> Iterator[_Name]:
    from lits_runtime.finding.find import find_scans, nothing_in
    from lits_runtime.volumes.names import SCAN_NAMES

    found = find_scans(folder, pattern=pattern, outputs=outputs)
    left_out += (one for one in found.left_out if not one.lost)
    lost = [one for one in found.left_out if one.lost]
    if not found.files and not lost:
        yield _Name(folder, problem=nothing_in(found, pattern or SCAN_NAMES))
    reasons: dict[Path, str | None] = dict.fromkeys(found.files)
    for path, why in sorted((reasons | {one.path: one.why for one in lost}).items()):
        place = Path() if path == folder else path.parent.relative_to(folder)
        yield _Name(path, place, why)


def _unique(names: Iterable[_Name], *, beside: bool) -> Iterator[_Name]:
    """Each entry of a folder once, however it is named, and each file once per mask."""
    entries: set[str] = set()
    files: set[tuple[object, ...]] = set()
    for name in names:
        entry = _entry(name.path)
        place = os.path.dirname(entry) if beside else name.place
        file = (_real(name.path), place, stem(name.path))
        if entry in entries or file in files:
            continue
        entries.add(entry)
        files.add(file)
        yield name


def _entry(path: Path) -> str:
    """The folder of a name with links resolved, and the name itself, which may be a link."""
    return os.path.join(_real(path.parent), path.name)


def _real(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # a NUL, or too long
        return str(path)


def _logged(left_out: "list[LeftOut]", jobs: Sequence[Job]) -> "list[LeftOut]":
    """Log and return what was left out, but for files that another name made a job."""
    if not left_out:
        return []
    from lits_runtime.finding.find import tell

    found = {_entry(job.scan) for job in jobs}
    left_out = [one for one in dict.fromkeys(left_out) if _entry(one.path) not in found]
    tell(left_out, logger)
    return left_out


def _job(name: _Name, output: Path | None, probability: Path | None, single: bool) -> Job:
    mask, problem = _target(name, output, "mask", single), name.problem
    prob = None if probability is None else _target(name, probability, "prob", single)
    return Job(name.path, mask, prob, problem or _unwritable(mask, prob))


def _target(name: _Name, output: Path | None, what: str, single: bool) -> Path:
    file = f"{stem(name.path)}_{what}{WRITTEN[0]}"
    if output is None:
        return name.path.parent / file
    if is_written(output.name) and not output.is_dir():
        if not single:
            raise ValueError(f"{output}: one file for several scans; give a folder")
        return output
    return output / name.place / file


def _check_output(output: Path) -> None:
    if is_written(output.name) or output.is_dir():
        return
    if output.exists() or output.suffix.lower() in _NO_FOLDERS:
        raise ValueError(
            f"{printable(str(output))}: expected a folder, or a name ending in {WRITTEN_WORDS}"
        )


def _unwritable(*outputs: Path | None) -> str | None:
    """Why an output cannot be written, as for a name too long for the file system."""
    for file in outputs:
        try:
            if file is not None:
                os.lstat(file)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            text = getattr(error, "strerror", None) or str(error)
            return f"its mask cannot be written as {printable(str(file))}: {text}"
    return None
