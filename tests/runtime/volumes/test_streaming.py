"""The streaming path: every layout of a file, against the same voxels worked out in numpy."""

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import aff2axcodes

from lits_runtime import Segmenter, VolumeError
from lits_runtime.phantom.ct import make_phantom, write_phantom
from lits_runtime.volumes.scan import Scan
from support.files.scans import AXIS_CODES, LPS_AFFINE, random_hu, reorient, save
from support.networks.tiny_models import positional_labels, positional_model, tiny_model
from support.paths import SHARED_DATA


def load_nifti(path: Path) -> Any:
    """As nibabel does, but typed for what tests look at."""
    return nib.load(path)


@pytest.fixture(scope="module")
def positional() -> Segmenter:
    return Segmenter.open(positional_model(), provider="cpu", threads=3)


@pytest.mark.parametrize("codes", AXIS_CODES)
def test_every_orientation_gives_the_mask_in_that_orientation(
    codes: str, positional: Segmenter, tmp_path: Path
) -> None:
    stored = random_hu((9, 8, 11))
    expected = positional_labels(stored)
    assert set(np.unique(expected)) == {0, 1, 2}
    volume, affine = reorient(stored, LPS_AFFINE, codes)
    scan = save(tmp_path / "scan.nii.gz", volume, affine)
    report = positional.segment_file(scan, tmp_path / "mask.nii.gz", batch_size=3)
    mask = load_nifti(tmp_path / "mask.nii.gz")
    assert "".join(aff2axcodes(mask.affine)) == codes
    np.testing.assert_array_equal(
        np.asanyarray(mask.dataobj),
        reorient(expected.astype(np.int16), LPS_AFFINE, codes)[0],
    )
    streams = codes[2] in "SI"
    assert (report.whole_because is None) == streams
    if not streams:
        assert report.whole_because is not None
        assert codes in report.whole_because


@pytest.mark.parametrize("batch_size", [1, 2, 5, 50])
@pytest.mark.parametrize("flip", [False, True])
def test_batch_and_direction_change_nothing(
    batch_size: int, flip: bool, positional: Segmenter, tmp_path: Path
) -> None:
    stored = random_hu((9, 8, 7))
    volume, affine = reorient(stored, LPS_AFFINE, "LPI" if flip else "LPS")
    scan = save(tmp_path / "scan.nii.gz", volume, affine)
    positional.segment_file(scan, tmp_path / "mask.nii", batch_size=batch_size)
    expected = positional_labels(stored)
    mask = np.asanyarray(load_nifti(tmp_path / "mask.nii").dataobj)
    np.testing.assert_array_equal(mask, expected[..., ::-1] if flip else expected)


TYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".img", ".img.gz"])
@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_every_file_form_streams(
    ending: str, endianness: str, version: int, positional: Segmenter, tmp_path: Path
) -> None:
    single = ending.startswith(".nii")
    kinds = {1: (nib.Nifti1Image, nib.Nifti1Pair), 2: (nib.Nifti2Image, nib.Nifti2Pair)}
    kind: Any = kinds[version][0 if single else 1]
    header = kind.header_class(endianness=endianness)
    stored = random_hu((9, 8, 7))
    header.set_data_dtype(np.int16)
    image = kind(stored, LPS_AFFINE, header)
    image.header.set_slope_inter(0.5, -1024)
    if single:
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"kept" * 9))
    nib.save(image, tmp_path / f"scan{ending}")
    scan = load_nifti(tmp_path / f"scan{ending}")
    assert scan.header.endianness == endianness
    report = positional.segment_file(tmp_path / f"scan{ending}", tmp_path / "mask.nii.gz")
    mask = load_nifti(tmp_path / "mask.nii.gz")
    assert report.whole_because is None
    assert isinstance(mask, kinds[version][0])
    np.testing.assert_array_equal(
        np.asanyarray(mask.dataobj), positional_labels(stored * 0.5 - 1024)
    )
    np.testing.assert_array_equal(mask.affine, scan.affine)
    assert [e.get_content() for e in mask.header.extensions] == [
        e.get_content() for e in scan.header.extensions
    ]


@pytest.mark.parametrize("dtype", TYPES)
def test_every_number_type_streams(dtype: str, positional: Segmenter, tmp_path: Path) -> None:
    values = (random_hu((9, 8, 7)) // 3).clip(0 if dtype[0] == "u" else -120, 120).astype(dtype)
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    nib.save(nib.Nifti1Image(values, LPS_AFFINE, header), tmp_path / "scan.nii.gz")
    positional.segment_file(tmp_path / "scan.nii.gz", tmp_path / "mask.nii")
    mask = np.asanyarray(load_nifti(tmp_path / "mask.nii").dataobj)
    np.testing.assert_array_equal(mask, positional_labels(values))


@pytest.mark.parametrize("codes", ["LPS", "SLP"])
def test_one_time_point_gives_a_mask_in_three_dimensions(
    codes: str, positional: Segmenter, tmp_path: Path
) -> None:
    stored = random_hu((9, 8, 7))
    volume, affine = reorient(stored, LPS_AFFINE, codes)
    scan = save(tmp_path / "scan.nii.gz", volume[..., None], affine)
    assert load_nifti(scan).ndim == 4
    positional.segment_file(scan, tmp_path / "mask.nii")
    mask = load_nifti(tmp_path / "mask.nii")
    expected = reorient(positional_labels(stored).astype(np.int16), LPS_AFFINE, codes)[0]
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj), expected)


def test_oblique_affine_and_both_codes_are_kept(positional: Segmenter, tmp_path: Path) -> None:
    angle = np.deg2rad(20)
    affine = LPS_AFFINE.copy()
    tilt = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    affine[:3, :3] = tilt @ np.diag([-0.7, -0.8, 2.5])
    stored = random_hu((9, 8, 7))
    image = nib.Nifti1Image(stored, affine)
    image.set_sform(affine, code="mni")
    image.set_qform(affine, code="scanner")
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"tilted"
    nib.save(image, tmp_path / "scan.nii.gz")
    report = positional.segment_file(tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz")
    scan, mask = load_nifti(tmp_path / "scan.nii.gz"), load_nifti(tmp_path / "mask.nii.gz")
    assert report.warnings == ()
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj), positional_labels(stored))
    for key in ("sform_code", "qform_code", "srow_x", "srow_z", "quatern_b", "quatern_c"):
        np.testing.assert_array_equal(mask.header[key], scan.header[key])
    for key in ("qoffset_x", "pixdim", "xyzt_units", "descrip", "intent_code", "dim_info"):
        np.testing.assert_array_equal(mask.header[key], scan.header[key])


def test_real_or_phantom_ct_streams_as_it_segments_whole(
    positional: Segmenter, tmp_path: Path
) -> None:
    scan = SHARED_DATA / "totalsegmentator/example_ct.nii.gz"
    if not scan.exists():
        phantom = make_phantom(44, matrix=128, slices=60, lesions=2)
        scan, _ = write_phantom(tmp_path, 44, phantom)
    report = positional.segment_file(scan, tmp_path / "mask.nii.gz")
    whole = positional.segment(load_nifti(scan))
    assert report.whole_because is None
    np.testing.assert_array_equal(
        np.asanyarray(load_nifti(tmp_path / "mask.nii.gz").dataobj), whole.labels
    )
    assert report.volumes_ml == whole.volumes_ml
    assert report.lesions == whole.report.lesions


def damaged(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_gzip_that_holds_more_or_less_than_its_header_says_is_refused(
    positional: Segmenter, tmp_path: Path
) -> None:
    plain = save(tmp_path / "scan.nii", random_hu((16, 16, 9)), LPS_AFFINE).read_bytes()
    packed = gzip.compress(plain)
    flipped = bytearray(packed)
    flipped[-5] ^= 1  # of the checksum
    cases = {
        "holds more": damaged(tmp_path / "more.nii.gz", gzip.compress(plain + b"\1")),
        "holds  more": damaged(tmp_path / "more.nii", plain + b"\1"),
        "slices are missing": damaged(tmp_path / "less.nii.gz", gzip.compress(plain[:-600])),
        "CRC check failed": damaged(tmp_path / "crc.nii.gz", bytes(flipped)),
        "end-of-stream marker": damaged(tmp_path / "cut.nii.gz", packed[: len(packed) // 2]),
        "the header needs": damaged(tmp_path / "cut.nii", plain[:-1]),
        "which its name denies": damaged(tmp_path / "plain.nii.gz", plain),
        "which its  name denies": damaged(tmp_path / "packed.nii", packed),
    }
    mask = tmp_path / "out" / "mask.nii.gz"
    for message, path in cases.items():
        with pytest.raises(VolumeError, match=" ".join(message.split())):
            positional.segment_file(path, mask, batch_size=2)
        with pytest.raises(VolumeError, match=" ".join(message.split())):
            Scan.open(path).load()
    assert not mask.parent.exists() or not list(mask.parent.iterdir())


def test_a_gzip_in_several_members_is_one_volume(positional: Segmenter, tmp_path: Path) -> None:
    stored = random_hu((9, 8, 7))
    plain = save(tmp_path / "scan.nii", stored, LPS_AFFINE).read_bytes()
    packed = gzip.compress(plain[:500]) + gzip.compress(plain[500:])
    labels = positional.segment(damaged(tmp_path / "scan.nii.gz", packed)).labels
    np.testing.assert_array_equal(labels, positional_labels(stored))


PEAK = """
import resource, sys
from lits_runtime import Options, Segmenter
segmenter = Segmenter.open(sys.argv[1], provider="cpu", threads=2)
options = Options(keep_largest_liver=True, drop_lesions_outside_liver=True, min_lesion_ml=0.01)
report = segmenter.segment_file(sys.argv[2], sys.argv[3], options, force=True)
assert report.whole_because is None
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_scan(tiny_model_path: Path, tmp_path: Path) -> None:
    peaks_kb = []
    for slices in (30, 600):  # 4 MB and 79 MB of voxels, the mask half of that
        plane = np.pad(random_hu((16, 16, 1)), ((120, 120), (120, 120), (0, 0)))
        volume = np.broadcast_to(plane, (256, 256, slices))
        scan = save(tmp_path / f"{slices}.nii.gz", volume, LPS_AFFINE)
        child = subprocess.run(
            [sys.executable, "-c", PEAK, tiny_model_path, scan, tmp_path / "mask.nii.gz"],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": ":".join(sys.path)},
        )
        peaks_kb.append(int(child.stdout))
    assert peaks_kb[1] < 1.1 * peaks_kb[0], peaks_kb


def test_models_without_context_stream_too(tmp_path: Path) -> None:
    segmenter = Segmenter.open(tiny_model(), provider="cpu")
    stored = random_hu((9, 8, 7))
    scan = save(tmp_path / "scan.nii.gz", stored, LPS_AFFINE)
    segmenter.segment_file(scan, tmp_path / "mask.nii.gz")
    mask = np.asanyarray(load_nifti(tmp_path / "mask.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, (stored >= 50).astype(int) + (stored >= 100))
