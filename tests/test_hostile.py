"""Hostile files: whatever the bytes are, a `LitsError`, soon, and in little memory."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from conftest import random_hu
from test_volume import LPS_AFFINE

from lits_runtime import VolumeError
from lits_runtime.nifti import MAX_HEADER_BYTES
from lits_runtime.volume import Scan

CASES = int(os.environ.get("LITS_TEST_MUTATIONS", "600"))
"""How many mutated files are tried; the full run takes 10000."""

FUZZ = """
import gzip, io, logging, random, resource, signal, sys
from pathlib import Path
from lits_runtime import LitsError, Segmenter
from lits_runtime.volume import Scan

logging.disable(logging.CRITICAL)
model, folder, first, last = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
segmenter = Segmenter.open(model, provider="cpu", threads=1)
bases = [path.read_bytes() for path in sorted(folder.glob("base-*.nii"))]
extremes = [bytes(8), b"\\xff" * 8, b"\\x7f" + b"\\xff" * 7, b"\\xff" * 7 + b"\\x7f",
            b"\\0\\0\\x80\\x7f" * 2, b"\\0\\0\\xc0\\x7f" * 2, b"\\1" + bytes(7), b"\\0\\x80" * 4]


def mutated(rng):
    plain = bytearray(rng.choice(bases))
    kind = rng.randrange(5)
    head = 560 if kind < 3 else len(plain)
    for _ in range(rng.choice((1, 1, 2, 4, 30))):
        at = rng.randrange(head)
        size = rng.choice((1, 2, 4, 8))
        plain[at:at + size] = rng.choice((rng.randbytes(size), rng.choice(extremes)[:size]))
    if kind == 2:
        del plain[rng.randrange(len(plain)):]
    if rng.random() < 0.4:
        return bytes(plain), ".nii"
    packed = bytearray(gzip.compress(bytes(plain), 1))
    if kind > 2:
        for _ in range(rng.choice((1, 1, 3))):
            packed[rng.randrange(len(packed))] = rng.randrange(256)
    if kind == 4 and rng.random() < 0.5:
        del packed[rng.randrange(len(packed)):]
    return bytes(packed), ".nii.gz"


def hang(number, frame):
    raise SystemExit(f"case {case} hangs")


signal.signal(signal.SIGALRM, hang)
accepted = refused = 0
for case in range(first, last):
    rng = random.Random(case)
    content, ending = mutated(rng)
    path = folder / f"case{ending}"
    path.write_bytes(content)
    source = path if rng.random() < 0.7 else io.BytesIO(content)
    signal.alarm(20)
    try:
        scan = Scan.open(source, max_voxels=2**22)
        segmenter.segment_file(scan, folder / "mask.nii.gz")
        accepted += 1
    except LitsError as error:
        assert str(error).isprintable(), repr(str(error))
        refused += 1
    except BaseException as error:
        raise SystemExit(f"case {case}: {error!r}") from error
    signal.alarm(0)
# Not ru_maxrss: Linux hands a child the high-water mark of the parent that forked it.
status = open("/proc/self/status").read()
peak_mb = int(status.partition("VmHWM:")[2].split()[0]) / 1024
print(accepted, refused, peak_mb)
"""


def write_bases(folder: Path) -> None:
    stored = random_hu((12, 11, 9))
    kinds: tuple[Any, ...] = (nib.Nifti1Image, nib.Nifti2Image, nib.Nifti1Image)
    for number, kind in enumerate(kinds):
        image = kind(stored, LPS_AFFINE)
        if number == 2:
            image.header.set_slope_inter(0.5, -1024)
            image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 99))
        nib.save(image, folder / f"base-{number}.nii")


def test_mutated_files_end_in_our_errors(tiny_model_path: Path, tmp_path: Path) -> None:
    write_bases(tmp_path)
    child = subprocess.run(
        # nibabel warns the user of odd extensions; numpy must not have to warn of anything.
        [
            *(sys.executable, "-W", "error", "-W", "ignore::UserWarning", "-c", FUZZ),
            *(tiny_model_path, tmp_path, "0", str(CASES)),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
    )
    assert child.returncode == 0, child.stderr[-2000:]
    accepted, refused, peak_mb = (float(word) for word in child.stdout.split())
    assert accepted + refused == CASES
    assert accepted > CASES / 20, "nothing got past the header"
    assert refused > CASES / 5
    assert peak_mb < 400
    assert not list(tmp_path.glob(".partial*"))


def with_field(path: Path, at: int, content: bytes) -> Path:
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), LPS_AFFINE)
    data = bytearray(image.to_bytes())
    data[at : at + len(content)] = content
    path.write_bytes(data)
    return path


def test_what_a_header_asks_for_is_held_to_limits(tmp_path: Path) -> None:
    def dims(*sizes: int) -> bytes:
        return np.array([len(sizes), *sizes], "<i2").tobytes()

    for content, at, message in (
        (dims(32767, 32767, 3), 40, "expected 1 to 2147483648 voxels"),
        (dims(32767, 32767, 1), 40, "expected at most 16777216 voxels in one"),
        (dims(4, 4, 0), 40, "expected 1 to"),
        (dims(-4, 4, 4), 40, "VolumeError|expected 1 to|not a readable"),
        (np.array([2.0**30], "<f4").tobytes(), 108, f"expected 348 to {MAX_HEADER_BYTES}"),
        (np.array([np.nan], "<f4").tobytes(), 108, "not a readable NIfTI"),
        (np.array([-8], "<f4").tobytes(), 108, "voxels from byte -8"),
        (b"oops", 344, "no NIfTI magic"),
    ):
        with pytest.raises(VolumeError, match=message):
            Scan.open(with_field(tmp_path / "scan.nii", at, content))


def test_a_small_gzip_cannot_claim_a_large_volume(tmp_path: Path) -> None:
    import gzip

    path = with_field(tmp_path / "x.nii", 40, np.array([3, 1024, 1024, 512], "<i2").tobytes())
    packed = tmp_path / "scan.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    scan = Scan.open(packed)
    with pytest.raises(VolumeError, match="asks for 1073742176 bytes, the file holds at most"):
        scan.load()


def test_names_are_escaped_in_messages(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\nb\u202e.nii"
    path.write_text("no volume")
    with pytest.raises(VolumeError) as caught:
        Scan.open(path)
    assert "a\\x1b[31m\\nb\\u202e.nii" in str(caught.value)
    assert str(caught.value).isprintable()
