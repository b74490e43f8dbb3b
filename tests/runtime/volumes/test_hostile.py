"""Hostile files: whatever the bytes are, a `LitsError`, soon, and in little memory."""

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lits_runtime import VolumeError
from lits_runtime.volumes.nifti.reader import MAX_HEADER_BYTES
from lits_runtime.volumes.scan import Scan
from support.files.scans import LPS_AFFINE
from support.hostile import scans as hostile_scans

SCANS = int(os.environ.get("LITS_FUZZ_SCANS", "300"))
"""How many mutated files are tried; the full run takes 10000."""


@pytest.mark.slow
def test_mutated_files_end_in_our_errors_or_in_nibabels_values(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    child = subprocess.run(
        [sys.executable, hostile_scans.__file__, tiny_model_path, tmp_path, "0", str(SCANS)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
    )
    assert child.returncode == 0, child.stderr[-2000:]
    assert child.stderr == ""
    accepted, refused, compared, peak_mb = (float(word) for word in child.stdout.split())
    assert accepted + refused == SCANS
    assert accepted > SCANS / 10, "nothing got past the header"
    assert compared > accepted / 2
    assert refused > SCANS / 5
    assert peak_mb < 400
    assert not list(tmp_path.glob(".lits-*"))


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
        (dims(32767, 32767, 1), 40, "expected at most 4194304 voxels in one"),
        (dims(4, 4, 0), 40, "expected one voxel or more"),
        (dims(-4, 4, 4), 40, "expected one voxel or more|not a readable"),
        (np.array([2.0**30], "<f4").tobytes(), 108, f"expected 348 to {MAX_HEADER_BYTES}"),
        (np.array([np.nan], "<f4").tobytes(), 108, "not a readable NIfTI"),
        (np.array([-8], "<f4").tobytes(), 108, "voxels from byte -8"),
        (b"oops", 344, "no NIfTI magic"),
    ):
        with pytest.raises(VolumeError, match=message):
            Scan.open(with_field(tmp_path / "scan.nii", at, content))


def test_a_small_gzip_cannot_claim_a_large_volume(tmp_path: Path) -> None:

    path = with_field(tmp_path / "x.nii", 40, np.array([3, 1024, 1024, 512], "<i2").tobytes())
    packed = tmp_path / "scan.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    scan = Scan.open(packed)
    with pytest.raises(VolumeError, match="needs 1073742176 bytes, the file holds at most"):
        scan.load()


def test_names_are_escaped_in_messages(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\nb\u202e.nii"
    path.write_text("no volume")
    with pytest.raises(VolumeError) as caught:
        Scan.open(path)
    assert "a\\x1b[31m\\nb\\u202e.nii" in str(caught.value)
    assert str(caught.value).isprintable()


def nifti_with_extensions(path: Path, *extensions: tuple[int, int, bytes]) -> Path:
    body = b"".join(np.array(ext[:2], "<i4").tobytes() + ext[2] for ext in extensions)
    plain = with_field(path, 0, b"").read_bytes()
    offset = 352 + -(-len(body) // 16) * 16
    header = bytearray(plain[:348])
    header[108:112] = np.array([offset], "<f4").tobytes()
    path.write_bytes(header + b"\1\0\0\0" + body.ljust(offset - 352, b"\0") + plain[352:])
    return path


@pytest.mark.parametrize("size", [2**31 - 1, -1, 0, 7, 16, 2**30, -(2**31)])
def test_extensions_of_impossible_size_are_refused_without_a_warning(
    size: int, tmp_path: Path
) -> None:
    path = nifti_with_extensions(tmp_path / "scan.nii", (size, 6, bytes(24)))
    with pytest.raises(VolumeError, match="extension"):
        Scan.open(path)


def test_extensions_are_bounded_in_number(tmp_path: Path) -> None:
    path = nifti_with_extensions(tmp_path / "scan.nii", *[(16, 6, bytes(8))] * 1000)
    source: Any = Scan.open(path).source
    header = source.image.header
    assert len(header.extensions) == 1000
    path = nifti_with_extensions(tmp_path / "scan.nii", *[(8, 6, b"")] * 100_000)
    with pytest.raises(VolumeError, match="more than 1000 header extensions"):
        Scan.open(path)


def test_nothing_is_said_on_stderr_of_odd_headers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for at, content in (
        (108, np.array([352.5], "<f4").tobytes()),
        (80, bytes(12)),  # pixdim
        (72, b"\7\0"),  # bitpix
        (252, b"\x99\0"),  # qform_code
    ):
        scan = Scan.open(with_field(tmp_path / "scan.nii", at, content))
        scan.load()
    assert capfd.readouterr() == ("", "")


def test_a_pair_needs_both_of_its_names(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="header is that of a pair"):
        Scan.open(with_field(tmp_path / "scan.nii", 344, b"ni1\0"))
    with_field(tmp_path / "scan.img", 0, b"")
    with pytest.raises(VolumeError, match="header is that of one file"):
        Scan.open(with_field(tmp_path / "scan.hdr", 0, b""))


def test_gzip_members_and_headers_from_hell(tmp_path: Path) -> None:
    plain = with_field(tmp_path / "plain.nii", 0, b"").read_bytes()
    packed, empty, path = gzip.compress(plain), gzip.compress(b""), tmp_path / "scan.nii.gz"
    start = b"\x1f\x8b\x08\x08" + bytes(6)
    good = (empty * 5000 + packed, packed + empty * 5000, packed + bytes(9999))
    for content in (*good, start + b"name\0" + packed[10:]):
        path.write_bytes(content)
        np.testing.assert_array_equal(Scan.open(path).load().read_slab(0, 4), 0)
    bad = (
        packed + gzip.compress(bytes(10**7)),
        packed + b"more",
        start + b"a" * 10**7,
        b"\x1f\x8b",
    )
    for content in (*bad, packed[:-8] + b"crc!" + packed[-4:], gzip.compress(packed)):
        path.write_bytes(content)
        with pytest.raises(VolumeError):
            Scan.open(path).load()
