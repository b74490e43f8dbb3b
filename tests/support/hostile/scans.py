"""Mutated NIfTI files, each through the whole runtime; run in a child process with a limit.

    scans.py MODEL FOLDER FIRST LAST

Prints how many were accepted, how many refused, how many nibabel reads too, and the peak of memory
in MB. A mutant must end in a mask, or in a `LitsError` and nothing written; it must not hang, nor
read otherwise than in nibabel.
"""

import contextlib
import gzip
import io
import logging
import random
import resource
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from lits_runtime import LitsError, Segmenter
from lits_runtime.volumes.nifti.source import NiftiSource
from lits_runtime.volumes.scan import Scan

HANGS_AFTER_S = 60
EXTREMES = [
    bytes(8),
    b"\xff" * 8,
    b"\x7f" + b"\xff" * 7,
    b"\xff" * 7 + b"\x7f",
    b"\0\0\x80\x7f" * 2,  # infinity
    b"\0\0\xc0\x7f" * 2,  # not a number
    b"\1" + bytes(7),
    b"\0\x80" * 4,
]
FIELDS = [0, 40, 42, 44, 46, 48, 70, 72, 76, 80, 84, 88, 92, 108, 112, 116, 123, 252, 254, 256]
FIELDS += [268, 280, 284, 296, 312, 344, 348, 352, 356]
AFFINE = np.array([[-0.7, 0, 0.0, 100], [0, -0.8, 0.02, 90], [0, 0.02, 2.5, -40], [0, 0, 0, 1]])


def bases() -> list[tuple[bytes, bytes]]:
    """(header, voxels) of pairs, or (file, nothing): versions, byte orders, types, orientations."""
    rng = np.random.default_rng(0)
    made = []
    for number, dtype in enumerate(("i2", "u1", "i4", "f4", "u2", "f8", "i8", "i1")):
        version: Any = (nib.Nifti1Image, nib.Nifti2Image)[number % 2]
        if number % 3 == 2:
            version = (nib.Nifti1Pair, nib.Nifti2Pair)[number % 2]
        order = [(0, 1, 2), (2, 0, 1), (1, 2, 0)][number % 3]
        header: Any = version.header_class(endianness="<>"[number // 2 % 2])
        header.set_data_dtype(dtype)
        values = rng.integers(0, 120, (12, 11, 9)).astype(dtype).transpose(order)
        image: Any = version(values, AFFINE[:, [*order, 3]], header)
        image.header.set_slope_inter(*((2, -100) if number % 2 else (1, 0)))
        if number in (0, 5):
            comment = nib.nifti1.Nifti1Extension("comment", b"x" * 99)
            image.header.extensions.append(comment)
        made.append(_content(image))
    return made


def _content(image: Any) -> tuple[bytes, bytes]:
    if isinstance(image, nib.Nifti1Image | nib.Nifti2Image):
        return image.to_bytes(), b""
    header, voxels = io.BytesIO(), io.BytesIO()
    image.file_map["header"].fileobj, image.file_map["image"].fileobj = header, voxels
    image.to_file_map()
    return header.getvalue(), voxels.getvalue()


def mutate(plain: bytearray, rng: random.Random) -> None:
    """Change a few bytes, most of them of the header; cut, insert or repeat a part."""
    head = min(560, len(plain)) if rng.random() < 0.8 else len(plain)
    for _ in range(rng.choice((1, 1, 2, 4, 30))):
        at = rng.choice(FIELDS) if rng.random() < 0.5 else rng.randrange(head)
        size = rng.choice((1, 2, 4, 8))
        change = rng.choice((rng.randbytes(size), rng.choice(EXTREMES)[:size]))
        plain[at : at + size] = change
    kind = rng.randrange(12)
    at = rng.randrange(len(plain))
    if kind == 0:
        del plain[at:]
    elif kind == 1:
        plain[at:at] = rng.randbytes(rng.choice((1, 16, 400)))
    elif kind == 2:
        plain += plain[at:]


def write(folder: Path, number: int) -> Path:
    """The mutant of a number, as one file or a pair, packed or not."""
    rng = random.Random(number)
    header, voxels = (bytearray(part) for part in rng.choice(BASES))
    mutate(voxels if voxels and rng.random() < 0.1 else header, rng)
    packed = rng.random() < 0.6
    parts = {".hdr": header, ".img": voxels} if voxels else {".nii": header}
    for ending, plain in parts.items():
        content = bytearray(gzip.compress(bytes(plain), 1)) if packed else plain
        if packed and rng.random() < 0.4:
            for _ in range(rng.choice((1, 1, 3))):
                content[rng.randrange(len(content))] = rng.randrange(256)
            if rng.random() < 0.4:
                at = rng.randrange(len(content))
                content[at:at] = content[: rng.randrange(len(content))]
            if rng.random() < 0.3:
                del content[rng.randrange(1, len(content)) :]
        path = folder / f"scan{ending}{'.gz' if packed else ''}"
        path.write_bytes(content)
    return path


def hold_to_nibabel(path: Path, scan: Scan) -> bool:
    """Compare all values with those that nibabel reads, where it reads any."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            image: Any = nib.load(path)
            source = scan.source
            if isinstance(source, NiftiSource) and image.dataobj.offset != source.file.offset:
                return False  # it takes bytes of the header for voxels; see `true_offset`
            values = np.asanyarray(image.dataobj).reshape(scan.geometry.shape)
            expected = scan.geometry.to_canonical(values).astype(np.float32)
        except Exception:
            return False
    for run in scan.slabs(4):
        np.testing.assert_array_equal(scan.slab_hu(run), expected[run.start : run.stop])
    return True


def try_one(segmenter: Segmenter, folder: Path, number: int) -> tuple[bool, bool]:
    """Whether a mutant was accepted, and whether nibabel reads it too (the same values)."""
    path, mask = write(folder, number), folder / "out/mask.nii.gz"
    rng = random.Random(number)
    source: Any = path
    if ".nii" in path.name and rng.random() < 0.3:
        source = io.BytesIO(path.read_bytes())
    try:
        scan = Scan.open(source, max_voxels=2**22)
        segmenter.segment_file(scan, mask)
        compared = hold_to_nibabel(path, scan)
    except LitsError as error:
        assert str(error).isprintable(), repr(str(error))
        left = [entry.name for entry in mask.parent.glob("*")]
        assert not left, f"{left} left after {error}"
        return False, False
    mask.unlink()
    return True, compared


def main() -> None:
    """Try the mutants FIRST to LAST."""
    model, folder, first, last = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", message="Extension size is not a multiple of 16")
    segmenter = Segmenter.open(model, provider="cpu", threads=1)
    segmenter.segment((np.zeros((9, 9, 9), np.int16), AFFINE))
    status = Path("/proc/self/status").read_text()
    mapped = int(status.partition("VmSize:")[2].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 2**29, resource.RLIM_INFINITY))
    accepted = compared = 0
    for number in range(first, last):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(HANGS_AFTER_S)
        try:
            taken, read = try_one(segmenter, folder, number)
            accepted, compared = accepted + taken, compared + read
        except BaseException as error:
            raise SystemExit(f"mutant {number}: {error!r}") from error
        for left in folder.glob("scan*"):
            with contextlib.suppress(FileNotFoundError):
                left.unlink()
    signal.alarm(0)
    # Not ru_maxrss: Linux hands a child the high-water mark of the parent that forked it.
    status = Path("/proc/self/status").read_text()
    peak_mb = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(accepted, last - first - accepted, compared, peak_mb)


BASES = bases()

if __name__ == "__main__":
    main()
