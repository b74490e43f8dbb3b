"""Files that are not what their name says: what they are, and what would work."""

import gzip
import io
import os
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lits_runtime import Segmenter, VolumeError
from lits_runtime.segment.options import Options
from lits_runtime.volumes.foreign_formats import kind_of
from lits_runtime.volumes.scan import Scan
from support.files.scans import LPS_AFFINE, random_hu

STORED = random_hu((7, 6, 5))
PLAIN = nib.Nifti1Image(STORED, LPS_AFFINE).to_bytes()
MGH = struct.pack(">7i", 1, 7, 6, 5, 1, 4, 0) + bytes(256) + STORED.tobytes()
ANALYZE: Any = nib.AnalyzeImage(STORED.astype(np.int16), np.eye(4))

FOREIGN: dict[str, bytes] = {
    "git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "git annex get": b"/annex/objects/MD5E-s1--0.nii.gz\n",
    "name the folder of its series": bytes(128) + b"DICM\x02\0\0\0UL\x04\0" + bytes(400),
    "DICOM": b"\x08\0\x05\0CS\x0a\0ISO_IR 100" + bytes(400),
    "NRRD": b"NRRD0004\ntype: short\n",
    "MetaImage": b"ObjectType = Image\nNDims = 3\n",
    "mri_convert": MGH,
    "Analyze 7.5": ANALYZE.header.binaryblock,
    "ZIP": b"PK\x03\x04" + bytes(500),
    "web page": b"\n <!DOCTYPE html><html><body>Sign in</body></html>",
    "XML": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "JSON": b'{"message": "Not Found"}',
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(500),
    "JPEG": b"\xff\xd8\xff\xe0" + bytes(500),
    "TIFF": b"II*\0" + bytes(500),
    "it is text": b"liver, lesion\n1, 2\n",
    "empty file": b"",
    "zeros": bytes(4096),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(99),
    "bzip2": b"BZh91AY&SY" + bytes(99),
    "compressed by xz": b"\xfd7zXZ\0" + bytes(99),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(99),
    "mnc2nii": b"CDF\x01" + bytes(99),
    "NumPy": b"\x93NUMPY\x01\0v\0{'descr': '<i2'",
    "MATLAB": b"MATLAB 5.0 MAT-file, Platform: GLNXA64",
    "tar": b"volume-1.nii".ljust(257, b"\0") + b"ustar" + bytes(300),
    "twice": gzip.compress(gzip.compress(PLAIN)),
    "no NIfTI magic bytes": b"\x01\x80\xfe\x00" * 200,
}


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".hdr", "packed"])
@pytest.mark.parametrize("word", FOREIGN)
def test_what_a_file_is_stands_in_the_message(word: str, ending: str, tmp_path: Path) -> None:
    content = FOREIGN[word]
    if ending == "packed":
        if content[:2] == b"\x1f\x8b":
            return  # three times
        content, ending = gzip.compress(content), ".nii.gz"
    path = tmp_path / f"scan{ending}"
    path.write_bytes(content)
    with pytest.raises(VolumeError, match=word) as caught:
        Scan.open(path)
    assert str(caught.value).startswith(f"{path}: not a readable NIfTI volume: ")


def test_any_start_has_a_kind_or_none() -> None:
    rng = np.random.default_rng(3)
    for size in range(0, 544, 3):
        content = rng.bytes(size)
        kind_of(content)
        kind_of(b"\x1f\x8b" + content)
        kind_of(b"\0\0\0\x01" + content)


def test_names_that_deny_gzip_say_which_name_would_do(tmp_path: Path) -> None:
    for name, content, better in (
        ("a.nii", gzip.compress(PLAIN), "rename it to a.nii.gz"),
        ("A.NII", gzip.compress(PLAIN), "rename it to A.NII.gz"),
        ("a.nii.gz", PLAIN, "rename it to a.nii"),
        ("a.mgz", gzip.compress(MGH), "mri_convert"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VolumeError, match=better):
            Scan.open(tmp_path / name)


def with_offset(offset: int, at: int, version: int = 1) -> bytes:
    """A file whose header says that voxels begin at `offset`, and where they begin at `at`."""
    kind: Any = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    plain = bytearray(kind(STORED, LPS_AFFINE).to_bytes())
    size = 348 if version == 1 else 540
    place = slice(108, 112) if version == 1 else slice(168, 176)
    plain[place] = struct.pack("<f" if version == 1 else "<q", offset)
    return bytes(plain[:at] + plain[size + 4 :])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("version", "offset", "at"),
    [
        *((1, 0, 352), (1, 0, 348), (1, 348, 352), (1, 348, 348), (1, 352, 352), (1, 16, 352)),
        *((2, 0, 544), (2, 540, 540)),
    ],
)
def test_voxels_are_found_where_the_size_of_the_file_says(
    version: int, offset: int, at: int, packed: bool, tiny_model_path: Path, tmp_path: Path
) -> None:
    content = with_offset(offset, at, version)
    path = tmp_path / ("scan.nii.gz" if packed else "scan.nii")
    path.write_bytes(gzip.compress(content) if packed else content)
    expected = STORED.transpose(2, 1, 0)
    np.testing.assert_array_equal(Scan.open(path).load().read_slab(0, 5), expected)
    np.testing.assert_array_equal(Scan.open(path).read_slab(1, 3), expected[1:3])
    stream = io.BytesIO(path.read_bytes())
    np.testing.assert_array_equal(Scan.open(stream).load().read_slab(0, 5), expected)
    segmenter = Segmenter.open(tiny_model_path, provider="cpu")
    segmenter.segment_file(path, tmp_path / "mask.nii")
    mask: Any = nib.load(tmp_path / "mask.nii")
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj) > 0, STORED >= 50)


def test_voxels_in_the_header_are_refused_with_all_counts(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii"
    path.write_bytes(with_offset(0, 352)[:-3])
    with pytest.raises(VolumeError, match=r"from byte 0 on .* its 769 bytes .* 352 .* 348 .* 420"):
        Scan.open(path)


SLICE = 7 * 6 * 2


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("behind", "message"),
    [
        (bytes(SLICE - 1), None),
        (bytes(SLICE), f"{SLICE} bytes after the voxels, 1 slices, all zero"),
        (bytes(9) + b"x", "10 bytes after the voxels, not all zero"),
        (b"x" * 2 * SLICE, "2 slices, not all zero"),
        (bytes(2**22 + 2**16), "bytes or more after"),
    ],
)
def test_bytes_behind_the_voxels_are_padding_or_counted(
    behind: bytes, message: str | None, packed: bool, tiny_model_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / ("scan.nii.gz" if packed else "scan.nii")
    path.write_bytes(gzip.compress(PLAIN + behind) if packed else PLAIN + behind)
    segmenter, mask = Segmenter.open(tiny_model_path, provider="cpu"), tmp_path / "mask.nii"
    if message is None:
        report = segmenter.segment_file(path, mask)
        assert any(f"{len(behind)} zero bytes after" in warning for warning in report.warnings)
        with pytest.raises(VolumeError, match="--strict"):
            segmenter.segment_file(path, tmp_path / "strict.nii", Options(strict=True))
        return
    with pytest.raises(VolumeError, match=message):
        segmenter.segment_file(path, mask)
    assert not mask.exists()


def test_bytes_behind_a_gzip_are_named(tmp_path: Path) -> None:
    large = random_hu((40, 40, 20))
    content = gzip.compress(nib.Nifti1Image(large, LPS_AFFINE).to_bytes())
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(content + bytes(512))  # as tar pads: gzip's own tools pass over zeros
    np.testing.assert_array_equal(Scan.open(path).load().read_slab(0, 20), large.transpose(2, 1, 0))
    path.write_bytes(content + b"-----signature-----" * 9)
    with pytest.raises(VolumeError, match="bytes that are not gzip follow"):
        Scan.open(path).load()


def test_pairs_in_upper_case(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(STORED, LPS_AFFINE), tmp_path / "a.hdr")
    for half in ("hdr", "img"):
        os.rename(tmp_path / f"a.{half}", tmp_path / f"A.{half.upper()}")
    for half in ("HDR", "IMG"):
        slab = Scan.open(tmp_path / f"A.{half}").load().read_slab(0, 5)
        np.testing.assert_array_equal(slab, STORED.transpose(2, 1, 0))
