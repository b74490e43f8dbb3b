"""Mutated DICOM files and folders, each through the reader; run in a child process with a limit.

    dicom_files.py FOLDER FIRST LAST

Prints how many were read, how many refused, and the peak of memory in MB. A mutant must end in a
volume or in a `LitsError`; it must not hang, crash, or take memory without bound.
"""

import contextlib
import random
import resource
import shutil
import signal
import sys
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lits_runtime import LitsError
from lits_runtime.volumes.dicom.choice import choose_series
from lits_runtime.volumes.dicom.find import find_series
from lits_runtime.volumes.dicom.source import DicomSource
from lits_runtime.volumes.dicom.table import rows, table
from lits_runtime.volumes.scan import Scan
from support.dicom.ct import PATIENT_NAME, body_hu, save, slices_of
from support.dicom.htj2k import SHAPE
from support.dicom.objects import multi_frame, with_directory
from support.dicom.syntaxes import WRITERS

HANGS_AFTER_S = 60
MOST_MB = 4096
EXTREMES = [
    *(bytes(2), b"\xff\xff", b"\x7f\xff", b"\xff\x7f", bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f"),
    *(b"\0\0\0\1", b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"SQ", b"UN"),
    *(b"OB\0\0", b"UT\0\0", b"US", b"DS", b"IS", b"1e999", b"nan", b"-1", b"0", b"\\", b"\xff\xd9"),
    *(b"\xff\xc0", b"\xff\x4f", b"\xff\xda", b"\xe0\x7f\x10\x00", b"1.2.840.10008.1.2.1.99"),
]
SYNTAXES = [
    *("implicit VR", "implicit VR without meta header", "big-endian", "deflated", "RLE"),
    *("JPEG-LS", "JPEG 2000", "JPEG lossless .70, gdcm", "HTJ2K"),
]


def originals(folder: Path) -> list[Path]:
    """A series of four slices in each form, each in a folder of its own."""
    hu = body_hu(SHAPE)
    makers: dict[str, Callable[[Path], Any]] = {
        "explicit": lambda to: save(slices_of(hu), to),
        "enhanced": lambda to: save([multi_frame(slices_of(hu))], to),
        "directory": lambda to: with_directory(slices_of(hu), to),
        "archive": lambda to: _archive(save(slices_of(hu), folder / "unpacked"), to),
    }
    for name in SYNTAXES:
        makers[name] = partial(_write, name)
    for name, make in makers.items():
        make(folder / name)
    return [folder / name for name in makers]


def _write(name: str, folder: Path) -> None:
    WRITERS[name](slices_of(body_hu(SHAPE)), folder)


def _archive(paths: list[Path], folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(folder / "series.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, path.name)
    shutil.rmtree(paths[0].parent)


def mutate(content: bytes, chance: random.Random) -> bytes:
    """One to four changes, most of them in the first kilobytes."""
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        reach = len(content) if chance.random() < 0.4 else min(len(content), 1600)
        place = chance.randrange(max(reach, 1))
        change = chance.randrange(8)
        if change < 3:
            extreme = chance.choice(EXTREMES)
            content = content[:place] + extreme + content[place + len(extreme) :]
        elif change < 5:
            content = content[:place] + chance.randbytes(1) + content[place + 1 :]
        elif change == 5:
            content = content[:place] + content[place + chance.randrange(1, 40) :]
        elif change == 6:
            part = content[place : place + chance.randrange(1, 80)]
            content = content[:place] + part + content[place:]
        else:
            content = content[:place]
    return content


def spoil(folder: Path, chance: random.Random) -> None:
    """Change files of a folder, or swap, double or remove them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in chance.sample(paths, chance.choice([1, 1, len(paths)])):
        change = chance.randrange(12)
        if change == 0:
            path.unlink()
        elif change == 1:
            shutil.copy(path, path.with_name(f"{path.name} copy"))
        elif change == 2:
            path.write_bytes(chance.choice(paths).read_bytes() if path.exists() else b"")
        else:
            path.write_bytes(mutate(path.read_bytes(), chance))
        paths = [one for one in paths if one.exists()] or [folder]


def read(given: Path) -> bool:
    """Whether a folder is read; anything but an error of ours passes on."""
    try:
        found = find_series(given, fill_missing=True)
        assert PATIENT_NAME not in str(rows(found)) + table(found)
        scan = Scan(DicomSource(choose_series(found).series))
        for slab in scan.slabs(3):
            scan.slab_hu(slab)
        scan.read_slab(0, 1)
    except LitsError as error:
        assert "\n" not in str(error) and PATIENT_NAME not in str(error), error
        return False
    return True


def _hangs(*_: object) -> None:
    raise TimeoutError("hangs")


def main(folder: Path, first: int, last: int) -> None:
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MB * 2**20, MOST_MB * 2**20))
    signal.signal(signal.SIGALRM, _hangs)
    made, accepted = originals(folder / "originals"), 0
    for number in range(first, last):
        chance = random.Random(number)
        mutant = folder / "mutant"
        shutil.copytree(chance.choice(made), mutant)
        spoil(mutant, chance)
        given = next((path for path in mutant.iterdir() if path.name in GIVEN), mutant)
        (folder / "number").write_text(str(number))
        signal.alarm(HANGS_AFTER_S)
        try:
            accepted += read(given)
        except BaseException:
            print("mutant", number, file=sys.stderr)
            raise
        signal.alarm(0)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(mutant)
    # Not ru_maxrss, which counts the process that this one was forked from.
    peak_kb = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(accepted, last - first - accepted, int(peak_kb) // 1024)


GIVEN = ("DICOMDIR", "series.zip")

if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
