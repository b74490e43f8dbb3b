"""The rule for outputs: which existing files may be overwritten, checked before any computation.

Even with `force` nothing overwrites the scans, the model or any other input, a folder, a pipe or a
device, and no two results share a file. Another existing file is replaced if it is ours, that is,
if a record accounts for its very bytes (`records.record_file.explains`), or with `force`.
"""

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from lits_runtime.errors import OutputError
from lits_runtime.files.atomic import LOCK_PREFIX
from lits_runtime.files.regular_file import kind_of
from lits_runtime.messages import printable

_REMEDY = "move it away, choose another output, or overwrite it with --force (force=True)"


class Inputs:
    """The input files of a command, known by path and by inode, so that links count."""

    def __init__(self, what: str = "", files: Iterable[Path] = ()) -> None:
        self._by_path: dict[str, str] = {}
        self._by_file: dict[tuple[int, int], str] = {}
        self.folders: dict[str, str] | None = None
        """A cache of resolved folders, for the time in which many files are checked."""
        self.add(what, files)

    def add(self, what: str, files: Iterable[Path]) -> "Inputs":
        """Add files, and what messages call them, for example "the scan"."""
        for file in files:
            place = place_of(file, self.folders)
            for path in (place, _followed(place)):
                self._by_path.setdefault(path, what)
            if (identity := _identity(place)) is not None:
                self._by_file.setdefault(identity, what)
        return self

    def within(self, folder: Path) -> str | None:
        """The input that lies in a folder, or is it, as messages call it; None if there is none."""
        place = os.path.realpath(folder)
        for path, what in self._by_path.items():
            if os.path.commonpath([place, path]) == place:
                return what
        return None

    def among(self, target: Path) -> str | None:
        """The input that writing to `target` would replace, or change through a link."""
        place = place_of(target, self.folders)
        what = self._by_path.get(place) or self._by_path.get(_followed(place))
        if what is None and (identity := _identity(place)) is not None:
            what = self._by_file.get(identity)
        return what


def check_target(
    target: Path,
    inputs: Inputs,
    *,
    force: bool,
    ours: bool = False,
    found: str = "exists, and no record of ours explains it",
) -> None:
    """Refuse a target that must not be written by the rule above.

    Args:
        target: the file to write or to replace.
        inputs: of the command.
        force: replace files that are not ours.
        ours: whether a record accounts for the file that is there.
        found: how the message describes a file that is not ours.

    Raises:
        OutputError: the target must not be written.
    """
    name = printable(str(target))
    if (what := inputs.among(target)) is not None:
        raise OutputError(f"{name}: would overwrite {what}; choose another output")
    place = place_of(target, inputs.folders)
    _check_folder(name, place)
    try:
        mode = os.stat(place).st_mode
    except FileNotFoundError:
        if not os.path.islink(place):
            return
        found = "is a dangling link"
    except OSError as error:  # the name is too long, or links form a circle
        raise OutputError(f"{name}: {error.strerror}; choose another output") from error
    else:
        if (other := kind_of(mode)) is not None:
            raise OutputError(f"{name}: {other}, expected a file to write; choose another output")
    if not force and not ours:
        raise OutputError(f"{name} {found}; {_REMEDY}")


def check_folder(target: Path, inputs: Inputs, *, force: bool) -> None:
    """The rule for a folder that is written as a whole and may replace an older one.

    Raises:
        OutputError: the folder must not be written.
    """
    if (what := inputs.within(target)) is not None:
        raise OutputError(f"{printable(str(target))}: holds {what}; choose another output")
    _check_folder(printable(str(target)), place_of(target))
    if os.path.lexists(place_of(target)) and not force:
        raise OutputError(f"{printable(str(target))} exists; {_REMEDY}")


def _check_folder(name: str, place: str) -> None:
    """Refuse a file that could not be made, before any computation."""
    folder = os.path.dirname(place)
    while not os.path.lexists(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        reason = f"{printable(folder)} is not a folder"
    elif not os.access(folder, os.W_OK):
        reason = f"no permission to write in {printable(folder)}"
    else:
        return
    raise OutputError(f"{name}: {reason}; choose another output")


def check_targets(targets: Sequence[Path], inputs: Inputs, *, force: bool) -> None:
    """Apply the rule to all files that a command will write; no two may be the same file.

    Raises:
        OutputError: one of them must not be written.
    """
    seen: dict[str, Path] = {}
    for target in targets:
        if (other := seen.setdefault(file_key(target, inputs.folders), target)) is not target:
            names = f"{printable(str(other))} and {printable(str(target))}"
            raise OutputError(f"{names} are the same file; give separate outputs")
        check_target(target, inputs, force=force)


State: TypeAlias = tuple[tuple[int, ...] | None, ...]


def state_of(files: Iterable[Path]) -> State:
    """The state of files; it differs from a later one if a file was written to or replaced."""
    return tuple(map(_state, files))


def _state(file: Path) -> tuple[int, ...] | None:
    try:
        status = os.lstat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def lock_paths(files: Iterable[Path]) -> list[Path]:
    """The hidden lock files beside files, in an order that is the same for all processes."""
    return sorted({Path(os.path.dirname(key)) / _lock_name(key) for key in map(file_key, files)})


def _lock_name(key: str) -> str:
    name = os.path.basename(key).encode(errors="surrogateescape")
    return f"{LOCK_PREFIX}{hashlib.sha256(name).hexdigest()[:16]}"


def place_of(path: Path, folders: dict[str, str] | None = None) -> str:
    """The path with all links resolved but the last component's.

    "none/../a" is "a", as it will be once the missing folder is made.
    """
    folder, name = os.path.split(path)
    if folders is None:
        return os.path.join(os.path.realpath(folder), name)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    return os.path.join(folders[folder], name)


def _followed(place: str) -> str:
    return os.path.realpath(place) if os.path.islink(place) else place


def file_key(path: Path, folders: dict[str, str] | None = None) -> str:
    """Equal for paths that some file system takes for the same; macOS and Windows ignore case."""
    folder, name = os.path.split(place_of(path, folders))
    return os.path.join(folder, unicodedata.normalize("NFC", name.casefold()))


def _identity(place: str) -> tuple[int, int] | None:
    try:
        status = os.stat(place)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status.st_ino else None
