"""LiTS from Kaggle in one folder of pairs, without a second copy on disk."""

import logging
import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from lits_runtime.errors import DatasetError
from lits_train.data.case_files import case_order, find_files
from lits_train.data.free_space import gigabytes, require_space

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "KAGGLEHUB_CACHE"
OWN_CACHE = ".kagglehub"
"""In the target folder, so that files are moved rather than copied; removed at the end."""
CREDENTIALS = (
    "set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY, or save the kaggle.json of "
    "https://www.kaggle.com/settings in ~/.kaggle"
)


@dataclass(frozen=True)
class Part:
    """A Kaggle data set that holds a part of LiTS."""

    handle: str
    volumes: range
    """IDs of the volumes in it."""
    segmentations: range
    unpacked_bytes: int
    archive_bytes: int

    @property
    def names(self) -> set[str]:
        """The names of its files without endings, such as "volume-0"."""
        return {f"volume-{number}" for number in self.volumes} | {
            f"segmentation-{number}" for number in self.segmentations
        }


# 58,638 slices of 512 x 512: 31 GB of int16 volumes; 15 GB of uint8 masks, all in the first part.
# Kaggle does not state the size of its archives; these are upper bounds.
LITS = (
    Part("andrewmvd/liver-tumor-segmentation", range(51), range(131), 27 * 10**9, 8 * 10**9),
    Part("andrewmvd/liver-tumor-segmentation-part-2", range(51, 131), range(0), 23 * 10**9, 10**10),
)
"""131 pairs: volume_pt1 to 5 and segmentations in the first part, volume_pt6 to 8 in the second."""


def download(folder: Path, parts: Sequence[Part] = LITS, *, check_space: bool = True) -> int:
    """Download what a folder lacks, and collect it there as volume-ID and segmentation-ID pairs.

    An interrupted download is resumed. Files in a Kaggle cache named by `KAGGLEHUB_CACHE` stay
    there and are linked to; otherwise the cache is a hidden folder in `folder`, and files are moved
    out of it.

    Returns:
        The number of pairs.

    Raises:
        DatasetError: there is too little space, Kaggle cannot be reached or refuses, an archive is
            damaged, or pairs are missing from it.
        ModuleNotFoundError: kagglehub is not installed.
    """
    wanted = set().union(*(part.names for part in parts))
    todo = [part for part in parts if part.names - present(folder)]
    own_cache = CACHE_VARIABLE not in os.environ
    cache = folder / OWN_CACHE if own_cache else Path(os.environ[CACHE_VARIABLE])
    if todo and check_space:
        _check_space(cache, todo)
    for part in todo:
        gather(_fetch(part, cache), folder, move=own_cache)
    missing = wanted - present(folder)
    pairs = len({name.partition("-")[2] for name in wanted})
    if missing:
        cases = {name.partition("-")[2] for name in missing}
        raise DatasetError(
            f"{folder}: {pairs - len(cases)} of {pairs} pairs are complete; missing: "
            f"{', '.join(sorted(missing, key=_order))}"
        )
    if own_cache:
        shutil.rmtree(cache, ignore_errors=True)
    return pairs


def present(folder: Path) -> set[str]:
    """Names of the case files in a folder, without endings, such as "volume-0"."""
    found = find_files(folder) if folder.is_dir() else {}
    return {
        f"{kind}-{case_id}"
        for case_id, files in found.items()
        for kind, paths in files.items()
        if paths
    }


def gather(source: Path, folder: Path, *, move: bool) -> None:
    """Collect the volumes and segmentations of all subfolders of `source` in one folder.

    Args:
        source: a folder with any subfolders.
        folder: the target; existing files are kept.
        move: move the files. Otherwise they are linked: hard, or symbolically if `source` is on
            another file system.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there, linked = present(folder), 0
    for case_id, files in find_files(source).items():
        for kind, paths in files.items():
            if not paths or f"{kind}-{case_id}" in there or not paths[0].name.startswith(kind):
                continue
            target = folder / paths[0].name
            if move:
                paths[0].replace(target)
                continue
            try:
                target.hardlink_to(paths[0])
            except OSError:
                target.symlink_to(paths[0].absolute())
                linked += 1
    if linked:
        logger.warning("%d files of %s are symbolic links to %s: keep it", linked, folder, source)


def _check_space(cache: Path, todo: Sequence[Part]) -> None:
    there = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    unpacked = sum(part.unpacked_bytes for part in todo)
    needed = max(unpacked + max(part.archive_bytes for part in todo) - there, 0)
    free = require_space(cache, needed, f"the download of {len(todo)} part(s)")
    logger.info(
        "%d part(s) to download: about %s unpacked, %s needed while downloading, %s free",
        *(len(todo), gigabytes(unpacked), gigabytes(needed), gigabytes(free)),
    )


def _fetch(part: Part, cache: Path) -> Path:
    """Download a part; the folder in which kagglehub unpacked it."""
    with _kaggle_cache(cache), redirect_stdout(sys.stderr), _as_dataset_error(part, cache):
        import kagglehub

        # kagglehub reports where it downloads to.
        logging.getLogger("kagglehub").setLevel(logging.WARNING)
        logger.info("downloading %s", part.handle)
        return Path(kagglehub.dataset_download(part.handle))


@contextmanager
def _kaggle_cache(cache: Path) -> Iterator[None]:
    before = os.environ.get(CACHE_VARIABLE)
    os.environ[CACHE_VARIABLE] = str(cache)
    try:
        yield
    finally:
        if before is None:
            del os.environ[CACHE_VARIABLE]
        else:
            os.environ[CACHE_VARIABLE] = before


@contextmanager
def _as_dataset_error(part: Part, cache: Path) -> Iterator[None]:
    """Explain what a failure means and what would help."""
    import kagglehub.exceptions
    import requests

    address = f"https://www.kaggle.com/datasets/{part.handle}"
    try:
        yield
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise DatasetError(f"Kaggle refused {address} ({status}): {CREDENTIALS}") from error
        raise DatasetError(f"Kaggle answered {address} with an error: {error}") from error
    except requests.RequestException as error:
        raise DatasetError(
            f"the connection to Kaggle failed; the same command resumes the download: {error}"
        ) from error
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        ValueError,
        EOFError,
        kagglehub.exceptions.DataCorruptionError,
    ) as error:
        damaged = list((cache / "datasets" / part.handle).glob("**/*.archive"))
        for archive in damaged:
            archive.unlink()
        again = "; it was removed, and the same command downloads it again" if damaged else ""
        raise DatasetError(f"{part.handle}: {error}{again}") from error


def _order(name: str) -> tuple[tuple[int, str], str]:
    return case_order(name.partition("-")[2]), name
