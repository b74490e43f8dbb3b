"""Hostile DICOM: mutated files and folders, archives that lie, files that change."""

import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from lits_runtime import VolumeError
from lits_runtime.volumes.dicom import stored
from lits_runtime.volumes.dicom.find import find_series
from lits_runtime.volumes.dicom.source import DicomSource
from lits_runtime.volumes.scan import Scan
from support.dicom.ct import body_hu, save, slices_of
from support.dicom.htj2k import SHAPE
from support.hostile import dicom_files as hostile_dicom

ROUNDS = int(os.environ.get("LITS_FUZZ_DICOM", "300"))
"""How many mutated folders are tried; the full run takes 20000."""


@pytest.mark.slow
def test_mutated_folders_end_in_volumes_or_in_our_errors(tmp_path: Path) -> None:
    """The decoders write to stderr by themselves, from C; what counts is the exit status."""
    child = subprocess.run(
        [sys.executable, hostile_dicom.__file__, tmp_path, "0", str(ROUNDS)],
        capture_output=True,
        text=True,
        errors="replace",
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
    )
    assert child.returncode == 0, child.stderr[-2000:]
    accepted, refused, peak_mb = map(int, child.stdout.split())
    assert accepted + refused == ROUNDS
    assert accepted > ROUNDS / 5, "nothing got past the headers"
    assert refused > ROUNDS / 5
    assert peak_mb < 400


def archive(path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    files = save(slices_of(body_hu(SHAPE)), path.parent / "unpacked")
    with zipfile.ZipFile(path, "w", method) as made:
        for number, file in enumerate(files):
            made.write(file, f"../../../etc/{number}")
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_names_in_an_archive_lead_nowhere(tmp_path: Path, method: int) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    path = archive(tmp_path / "a/b/scan.zip", method)
    before = sorted(tmp_path.rglob("*"))
    scan = Scan.open(path).load()
    assert scan.geometry.shape == SHAPE
    assert sorted(tmp_path.rglob("*")) == before


def test_archives_are_held_to_limits(tmp_path: Path) -> None:
    path = archive(tmp_path / "scan.zip")
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")

    def spoilt(at: int, new: bytes) -> Path:
        path.write_bytes(content[:at] + new + content[at + len(new) :])
        return path

    for at, new, message in (
        (directory + 8, b"\x01\0", "an encrypted ZIP archive; unpack it first"),
        (directory + 10, b"\x0c\0", "compressed by another method than deflate"),
        (directory + 24, b"\xff\xff\xff\x7f", "the ZIP archive is damaged"),
        (200, b"\0\0\0\0\0\0", "the ZIP archive is damaged"),
        (len(content) - 22, b"XX", "not a readable ZIP archive"),
    ):
        with pytest.raises(VolumeError, match=message):
            found = find_series(spoilt(at, new))
            Scan(DicomSource(found.series[0])).load()
            raise VolumeError(found.not_used[0].why)


def test_what_inflates_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = slices_of(body_hu(SHAPE))[0]
    one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    (path,) = save([one], tmp_path)
    content = path.read_bytes()
    begin = stored._deflated_at(content)
    deflater = zlib.compressobj(9, wbits=-15)
    header = zlib.decompress(content[begin:], -15)
    bomb = deflater.compress(header + bytes(2**24)) + deflater.flush()
    path.write_bytes(content[:begin] + bomb)
    monkeypatch.setattr(stored, "MAX_OBJECT_BYTES", 2**24)
    (lost,) = find_series(path).not_used
    assert "bytes inflated: no CT slice" in lost.why


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    paths = save(slices_of(body_hu(SHAPE)), tmp_path)
    series = find_series(tmp_path).series[0]
    paths[2].write_bytes(paths[2].read_bytes() + b"\0\0")
    with pytest.raises(VolumeError, match="changed while in use"):
        Scan(DicomSource(series)).load()
    paths[2].unlink()
    with pytest.raises(FileNotFoundError):
        Scan(DicomSource(series)).load()
