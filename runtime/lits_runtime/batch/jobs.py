"""The jobs of a command line: which scans it names, and where the mask of each goes."""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lits_runtime.batch.job import Job, Remote, failure_path, series_name
from lits_runtime.batch.lists.row import Row
from lits_runtime.batch.named_scans import NamedScan, Search, entry_of, named_scans, unique
from lits_runtime.finding.left_out import LeftOut, tell
from lits_runtime.messages import printable
from lits_runtime.records.result_files import format_of, series_files
from lits_runtime.stores.uri import checked_uri, is_uri
from lits_runtime.volumes.names import (
    WRITTEN,
    WRITTEN_WORDS,
    is_dicom_name,
    is_written,
    stem_and_ending,
)

logger = logging.getLogger(__name__)

_NO_FOLDERS = (
    *(".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z", ".hdr", ".img", ".nrrd"),
    *(".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".mnc", ".dcm", ".png", ".jpg", ".jpeg", ".npy"),
    *(".npz", ".h5", ".hdf5", ".json", ".csv", ".txt", ".pdf", ".tif", ".tiff", ".onnx", ".pth"),
)
"""Endings of files that we do not write, and that no folder is given."""


@dataclass(frozen=True)
class Place:
    """Where results go: a path here, or one relative to a URI."""

    path: Path | None
    uri: str | None = None

    @classmethod
    def of(cls, output: Path | str | None) -> "Place":
        """For what a caller gave.

        Raises:
            OptionsError: the URI is of no store that takes results, or holds a password.
        """
        if output is None or not is_uri(output):
            return cls(None if output is None else Path(output))
        uri = checked_uri(str(output), output=True)
        above, _, name = uri.rstrip("/").rpartition("/")
        if format_of(Path(name)) is not None and not uri.endswith("/"):
            return cls(Path(name), above)
        return cls(Path(), uri.rstrip("/"))


class Plan(list[Job]):
    """The jobs, and the files in folders that look like scans but were left out."""

    def __init__(self, jobs: Iterable[Job], left_out: Iterable[LeftOut] = ()) -> None:
        super().__init__(jobs)
        self.left_out = tuple(left_out)


def plan(
    scans: "Sequence[Path | str | Row]",
    output: Path | str | None = None,
    *,
    pattern: str | None = None,
    probability: Path | None = None,
    formats: Sequence[str] = (),
    series: str | None = None,
    fill_missing: bool = False,
) -> Plan:
    """Jobs for files and folders, each scan once, in a stable order.

    A wrong name (missing, unreadable, not a regular file, a folder without scans) gives a job that
    fails, with the reason in `Job.problem`; so does a file in a folder that should be a scan but
    cannot be read, and a DICOM series with a fault. Other files that look like images are left
    out, logged, and listed in the result; see `lits_runtime.finding.find.find_scans`. Whether
    existing files may be overwritten is checked by `job_files`, once the model is known.

    Args:
        scans: files, folders to search for .nii, .nii.gz, .hdr with .img and DICOM series, or ZIP
            archives and DICOMDIRs, of which the most fitting series is taken; URIs of objects, and
            of prefixes that end in "/"; rows of a manifest.
        output: None: each mask beside its scan, as SCAN_mask.nii.gz; series need a name. One that
            ends in .nii, .nii.gz or, for a series, .dcm: the result of the only scan. Otherwise a
            folder that mirrors the scans' folders, with one for each series; the URI of either.
        pattern: of file names in folders, as in a shell, in place of the usual endings.
        probability: like `output`.
        formats: of the results of DICOM series; by default SEG and SR.
        series: UID or number of the only DICOM series to take of each name.
        fill_missing: interpolate single missing slices of DICOM series.

    Raises:
        ValueError: one file for several scans, an output of another format, or a format that does
            not fit it.
    """
    place = Place.of(output)
    output, outputs = place.path, [path for path in (output, probability) if path is not None]
    for path in (output, probability):
        if path is not None:
            _check_output(path, with_dicom=path is output)
    if output is not None:
        series_files(output, formats)  # raises if they do not fit
    if place.uri is not None and probability is not None:
        raise ValueError("--probability writes to folders here only, not beside results in a store")
    single = output is not None and _is_file(output)
    search = Search(outputs, pattern, series, fill_missing, single)
    left_out: list[LeftOut] = []
    names = list(unique(named_scans(scans, search, left_out), beside=not outputs))
    alone = len(names) == 1 and _is_one(names[0], scans[0])
    jobs = [_job(name, place, probability, tuple(formats), alone) for name in names]
    return Plan(jobs, _logged(left_out, jobs))


def read_list(lines: Iterable[str]) -> list[Path | str]:
    """Paths and URIs from lines; empty lines and those that begin with # are skipped."""
    stripped = (line.rstrip("\r\n") for line in lines)
    named = (line for line in stripped if line.strip() and not line.startswith("#"))
    return [line if is_uri(line) else Path(line) for line in named]


def shard(jobs: Sequence[Job], which: str) -> list[Job]:
    """The jobs of part I of N, by a hash of where their results go; `which` is "I/N", I from 1.

    A scan stays in its part when others come or go, and scans with one result share a part, where
    they are refused together. Parts are about equal in number.

    Raises:
        ValueError: `which` is not of that form.
    """
    number, _, total = which.partition("/")
    if not (number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise ValueError(f"shard {which!r}: expected I/N with I from 1 to N, for example 1/4")
    return [job for job in jobs if _hash_of(job) % int(total) == int(number) - 1]


def _hash_of(job: Job) -> int:
    import hashlib
    import unicodedata

    target = unicodedata.normalize("NFC", job.mask.as_posix().casefold())
    digest = hashlib.sha256(target.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big")


def stem(path: Path) -> str:
    """The name without NIfTI's endings.

    >>> stem(Path("a/scan.v2.nii.gz"))
    'scan.v2'
    """
    return stem_and_ending(path.name)[0]


def _logged(left_out: list[LeftOut], jobs: Sequence[Job]) -> list[LeftOut]:
    """Log and return what was left out, but for files that another name made a job."""
    if not left_out:
        return []
    found = {entry_of(job.scan) for job in jobs if job.series is None and job.problem is None}
    left_out = [one for one in dict.fromkeys(left_out) if entry_of(one.path) not in found]
    tell(left_out, logger)
    return left_out


def _job(
    name: NamedScan,
    place: Place,
    probability: Path | None,
    formats: tuple[str, ...],
    alone: bool,
) -> Job:
    output = place.path
    formats = name.formats or formats
    mask = _target(name, output, "mask", alone)
    prob = None if probability is None else _target(name, probability, "prob", alone)
    problem = name.problem or _unfit(name, mask, formats, output) or _unwritable(mask, prob)
    failure = None if output is None or alone else _failure(name, output)
    remote = name.remote
    if place.uri is not None:
        remote = replace(remote or Remote(), destination=place.uri)
        problem = name.problem or _unfit(name, mask, formats, output)
    return Job(name.path, mask, prob, problem, name.series, formats, failure, remote)


def _target(name: NamedScan, output: Path | None, what: str, alone: bool) -> Path:
    own = name.id or _own_name(name)
    file = f"{own}_{what}{WRITTEN[0]}"
    if output is None:
        return name.path.parent / file
    if _is_file(output):
        if not alone:
            raise ValueError(f"{output}: one file for several scans; give a folder")
        return output
    if _of_series(name) and what == "mask":
        return output / own
    return output / file if name.id else output / name.place / file


def _failure(name: NamedScan, output: Path) -> Path:
    """Where a failure is recorded: the same whether or not it is known yet what the name holds."""
    if name.id:
        return failure_path(output / name.id)
    if name.chosen:
        return failure_path(output / series_name(os.path.realpath(name.path)))
    return failure_path(output / name.place / _own_name(name))


def _own_name(name: NamedScan) -> str:
    if name.series is not None:
        return name.series.name
    if name.refused is not None:
        return name.refused
    if name.remote is not None and name.remote.is_series:
        return series_name(str(name.remote.source))
    return stem(name.path)


def _of_series(name: NamedScan) -> bool:
    of_store = name.remote is not None and name.remote.is_series
    return name.series is not None or name.refused is not None or of_store


def _unfit(
    name: NamedScan, mask: Path, formats: tuple[str, ...], output: Path | None
) -> str | None:
    """Why a scan cannot have the results that are asked for."""
    if name.remote is not None and output is None:
        return "in a store, beside whose objects nothing is written: give -o"
    if _of_series(name):
        if output is not None:
            return None
        return "a DICOM series, into whose folder nothing is written: give -o"
    if wanted := [one for one in formats if one != "nifti"]:
        asked = f"--format {wanted[0]}"
    elif is_dicom_name(mask.name):
        asked = "a SEG"
    else:
        return None
    return (
        f"not a DICOM series, which {asked} needs; give the series, or in Python "
        "Segmentation.save_seg(path, series)"
    )


def _is_one(name: NamedScan, given: "Path | str | Row") -> bool:
    """Whether the only name is that of a scan, and not of whatever is in a folder today."""
    if isinstance(given, Row):
        return True
    if is_uri(given):
        return not str(given).endswith("/")
    failed = name.problem is not None and name.path == Path(given)
    return name.series is not None or failed or not os.path.isdir(given)


def _is_file(output: Path) -> bool:
    """Whether a name is that of a mask or SEG by its ending."""
    return format_of(output) is not None and not output.is_dir()


def _check_output(output: Path, *, with_dicom: bool) -> None:
    if is_written(output.name) or output.is_dir() or (with_dicom and is_dicom_name(output.name)):
        return
    if output.exists() or output.suffix.lower() in _NO_FOLDERS:
        endings = f"{WRITTEN_WORDS}, or .dcm for a SEG" if with_dicom else WRITTEN_WORDS
        raise ValueError(
            f"{printable(str(output))}: expected a folder, or a name ending in {endings}"
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
