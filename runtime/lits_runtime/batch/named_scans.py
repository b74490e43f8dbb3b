"""The scans that a command line names: files, those in folders, and DICOM series."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lits_runtime.batch.job import Remote
from lits_runtime.batch.lists.row import Row
from lits_runtime.errors import LitsError
from lits_runtime.finding.left_out import LeftOut
from lits_runtime.finding.path_problems import why_no_file
from lits_runtime.finding.series import dicom_kind
from lits_runtime.messages import without_uids
from lits_runtime.records.own_outputs import made_by_us, made_here
from lits_runtime.stores.uri import is_uri, name_of, shown
from lits_runtime.volumes.names import stem_and_ending

if TYPE_CHECKING:
    from lits_runtime.volumes.dicom.series import Series


@dataclass(frozen=True)
class NamedScan:
    """The name of a scan, or one under which there is none."""

    path: Path
    """Of a series, what was given: a folder, an archive or a file."""
    place: Path = Path()
    """Its folder, relative to the one on the command line."""
    problem: str | None = None
    series: "Series | None" = None
    remote: Remote | None = None
    """Where the scan is, if it is in a store; `path` is then its name."""
    chosen: bool = False
    """Whether the one DICOM series is taken of all that `path` holds."""
    refused: str | None = None
    """The name of a DICOM series that cannot be read as it is."""
    id: str | None = None
    """What its results are called, by a manifest."""
    formats: tuple[str, ...] | None = None
    """Of its results, by a manifest."""


@dataclass(frozen=True)
class Search:
    """What to look for, and how."""

    outputs: Sequence[Path | str] = ()
    """Folders and prefixes of results, which are not searched."""
    pattern: str | None = None
    """For names of files in folders, in place of the usual endings."""
    wanted: str | None = None
    """The UID or number of the only DICOM series to take."""
    fill_missing: bool = False
    """Interpolate single missing slices of a series."""
    single: bool = False
    """One scan is asked for, as by the name of the only output."""


def named_scans(
    scans: Sequence[Path | str | Row], search: Search, left_out: list[LeftOut]
) -> Iterator[NamedScan]:
    """Every scan that is named, and every name under which there is none, with the reason.

    Args:
        scans: files and folders, URIs, and rows of manifests.
        search: what to look for.
        left_out: gets what else there is in folders.
    """
    plain = [scan for scan in scans if not isinstance(scan, Row) and not is_uri(scan)]
    yield from _here(plain, search, left_out)
    for scan in scans:
        if isinstance(scan, Row):
            yield from _of_row(scan, search, left_out)
        elif is_uri(scan):
            yield from _in_store(str(scan), search, left_out)


def _of_row(row: Row, search: Search, left_out: list[LeftOut]) -> Iterator[NamedScan]:
    """What a row of a manifest names: one scan, if it has an id."""
    options = row.options
    search = replace(
        search,
        wanted=options.get("series", search.wanted),
        fill_missing=options.get("fill_missing", search.fill_missing),
        single=search.single or row.id is not None,
    )
    formats = tuple(options["formats"]) if "formats" in options else None
    if is_uri(row.uri):
        named = [*_in_store(row.uri, search, left_out)]
    else:
        named = [*_here([row.scan], search, left_out)]
    if row.id is not None and len(named) > 1:
        problem = f"{len(named)} scans, where the manifest gives one name; list each"
        named = [NamedScan(Path(name_of(row.uri) or row.uri), problem=problem)]
    for one in named:
        yield replace(one, id=row.id, formats=formats)


def _in_store(uri: str, search: Search, left_out: list[LeftOut]) -> Iterator[NamedScan]:
    from lits_runtime.batch.lists.named_objects import named_objects

    try:
        found, others = named_objects(uri, [one for one in search.outputs if is_uri(one)])
    except LitsError as error:
        problem = str(error).removeprefix(f"{shown(uri)}: ")
        yield NamedScan(Path(name_of(uri)), problem=problem, remote=Remote(uri))
        return
    left_out += (LeftOut(Path(shown(one.uri)), str(one.problem)) for one in others)
    for one in found:
        why = one.problem
        if why is None and search.wanted is not None and not one.is_series:
            why = "not DICOM, so that it has no series to choose"
        options = (one.is_series, search.wanted, search.fill_missing)
        remote = Remote(one.uri, None, *options)
        yield NamedScan(Path(name_of(one.uri)), one.place, why, remote=remote)


def _here(
    scans: Sequence[Path | str], search: Search, left_out: list[LeftOut]
) -> Iterator[NamedScan]:
    """Every scan on this machine that is named, and every name under which there is none.

    Args:
        scans: files and folders.
        search: what to look for.
        left_out: gets what else there is in folders.
    """
    ours, objects = list[NamedScan](), list[Path]()
    made = cache(made_here)
    for name in scans:
        path = Path(name)
        if problem := why_no_file(name):
            yield NamedScan(path, problem=problem)
        elif path.is_dir():
            yield from _in_folder(path, search, left_out)
        elif kind := dicom_kind(path):
            if kind == "archive":
                yield _chosen(path, search)
            else:
                objects.append(path)
        elif search.wanted is not None:
            yield NamedScan(path, problem="not DICOM, so that it has no series to choose")
        elif why := made_by_us(path, made):
            ours.append(NamedScan(path, problem=why))
        else:
            yield NamedScan(path)
    yield from _of_objects(objects, search, left_out)
    if len(ours) == len(scans):
        yield from ours
    elif ours:  # *.nii.gz in a shell, after the first run
        left_out += (LeftOut(name.path, str(name.problem)) for name in ours)


def _in_folder(folder: Path, search: Search, left_out: list[LeftOut]) -> Iterator[NamedScan]:
    if search.wanted is not None:
        yield _chosen(folder, search)
        return
    from lits_runtime.finding.find import find_scans, nothing_in
    from lits_runtime.volumes.names import SCAN_NAMES

    found = find_scans(
        folder,
        pattern=search.pattern,
        outputs=[Path(one) for one in search.outputs if not is_uri(one)],
        fill_missing=search.fill_missing,
    )
    left_out += (one for one in found.left_out if not one.lost)
    lost = [one for one in found.left_out if one.lost]
    if not found.files and not found.series and not lost:
        endings = search.pattern or f"{SCAN_NAMES}, DICOM series of CT"
        yield NamedScan(folder, problem=nothing_in(found, endings))
    if search.single and len(found.series) > 1 and not found.files:
        yield _chosen(folder, search)
        return
    names = [(path, NamedScan(path, _place(path, folder))) for path in found.files]
    for one in lost:
        name = NamedScan(one.path, _place(one.path, folder), one.why, refused=one.refused)
        names.append((one.path, name))
    names += [(min(one.files), NamedScan(folder, series=one)) for one in found.series]
    yield from (name for _, name in sorted(names, key=lambda one: one[0]))


def _place(path: Path, folder: Path) -> Path:
    return Path() if path == folder else path.parent.relative_to(folder)


def _of_objects(
    paths: Sequence[Path], search: Search, left_out: list[LeftOut]
) -> Iterator[NamedScan]:
    """The series of single DICOM files, for example of all in a folder that a shell listed."""
    if len(paths) == 1 or (paths and (search.wanted is not None or search.single)):
        yield _chosen(paths[0], search, paths[1:])
    elif paths:
        from lits_runtime.finding.series import series_among

        folder = paths[0].parent
        series, others = series_among(paths, folder, fill_missing=search.fill_missing)
        yield from (NamedScan(folder, series=one) for one in series)
        lost = [one for one in others if one.lost or not series]
        yield from (NamedScan(one.path, problem=one.why, refused=one.refused) for one in lost)
        left_out += (one for one in others if one not in lost)


def _chosen(path: Path, search: Search, more: Sequence[Path] = ()) -> NamedScan:
    """The wanted or most fitting series in what was given."""
    from lits_runtime.volumes.open import choose_dicom

    try:
        series = choose_dicom([path, *more], search.wanted, fill_missing=search.fill_missing)
    except LitsError as error:
        problem = str(error).removeprefix(f"{without_uids(str(path))}: ")
        return NamedScan(path, problem=problem, chosen=True)
    except OSError as error:
        return NamedScan(path, problem=f"cannot be read: {error.strerror}", chosen=True)
    return NamedScan(path, series=series, chosen=True)


def unique(names: Iterable[NamedScan], *, beside: bool) -> Iterator[NamedScan]:
    """Each entry of a folder once, however it is named, and each file once per mask.

    Args:
        names: as found.
        beside: whether masks are written beside their scans.
    """
    entries: set[object] = set()
    files: set[tuple[object, ...]] = set()
    for name in names:
        entry = _identity(name)
        place = os.path.dirname(entry_of(name.path)) if beside else name.place
        file = (_real(name.path), place, _stem(name.path))
        plain = name.series is None and name.problem is None and name.remote is None
        if entry in entries or (plain and file in files):
            continue
        entries.add(entry)
        files |= {file} if plain else set()
        yield name


def _identity(name: NamedScan) -> object:
    if name.remote is not None:
        return (name.remote.source, name.problem)
    if name.series is not None:
        return (name.series.uid, name.series.part, *map(_real, name.series.files))
    return entry_of(name.path) if name.problem is None else (entry_of(name.path), name.problem)


def _stem(path: Path) -> str:
    return stem_and_ending(path.name)[0]


def entry_of(path: Path) -> str:
    """The folder of a name with links resolved, and the name itself, which may be a link."""
    return os.path.join(_real(path.parent), path.name)


def _real(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # a NUL, or too long
        return str(path)
