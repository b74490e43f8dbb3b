"""Volumes whose slices are not the slowest axis pass through a file on disk, not through memory."""

import itertools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from lits_runtime import Segmenter, VolumeError
from lits_runtime.volumes.scan import Scan
from lits_runtime.volumes.scratch import Scratch
from support.files.scans import LPS_AFFINE, load_nifti, random_hu, reorient
from support.networks.tiny_models import tiny_model


@pytest.mark.parametrize(("put_axis", "take_axis"), list(itertools.permutations(range(3), 2)))
@pytest.mark.parametrize("dtype", ["u1", ">i2", "f8"])
def test_what_is_put_along_one_axis_is_taken_along_another(
    put_axis: int, take_axis: int, dtype: str
) -> None:
    volume = random_hu((5, 7, 6)).astype(dtype)
    with Scratch((5, 7, 6), dtype, put_axis, take_axis) as scratch:
        for start in reversed(range(0, volume.shape[put_axis], 2)):
            rest = range(start, min(start + 2, volume.shape[put_axis]))
            scratch.put(start, volume.take(rest, put_axis))
        for start, stop in ((0, 5), (2, 3), (4, 5)):
            taken = scratch.take(start, stop)
            assert taken.dtype == dtype
            np.testing.assert_array_equal(taken, volume.take(range(start, stop), take_axis))


def test_a_disk_without_the_space_is_said_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    volume, affine = reorient(random_hu((9, 8, 7)), LPS_AFFINE, "SLP")
    nib.save(nib.Nifti1Image(volume, affine), tmp_path / "scan.nii.gz")
    free: Callable[[str], SimpleNamespace] = lambda folder: SimpleNamespace(free=1000)  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", free)
    segmenter = Segmenter.open(tiny_model(), provider="cpu")
    with pytest.raises(
        VolumeError, match=r"takes 1008 bytes of scratch space, .* \(1000 free\): set TMPDIR"
    ):
        segmenter.segment_file(tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]


def test_probabilities_and_one_class_pass_through_the_disk_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    stored = random_hu((9, 8, 7))
    segmenter = Segmenter.open(tiny_model(), provider="cpu")
    for codes in ("LPS", "ILP"):
        volume, affine = reorient(stored, LPS_AFFINE, codes)
        nib.save(nib.Nifti1Image(volume, affine), tmp_path / f"{codes}.nii")
        segmenter.segment_file(
            tmp_path / f"{codes}.nii",
            tmp_path / f"{codes}_mask.nii",
            mask_kind="lesion",
            probability=tmp_path / f"{codes}_p.nii",
            batch_size=2,
        )
    for name in ("mask", "p_liver", "p_lesion"):
        plain, turned = (load_nifti(tmp_path / f"{codes}_{name}.nii") for codes in ("LPS", "ILP"))
        expected = np.asanyarray(plain.dataobj)
        assert expected.any()
        scaled = reorient(np.rint(expected * 255).astype(np.int16), LPS_AFFINE, "ILP")[0]
        np.testing.assert_array_equal(np.rint(np.asanyarray(turned.dataobj) * 255), scaled)
    assert list((tmp_path / "scratch").iterdir()) == []


PEAK = """
import sys
from lits_runtime import Options, Segmenter
segmenter = Segmenter.open(sys.argv[1], provider="cpu", threads=2)
options = Options(keep_largest_liver=True, drop_lesions_outside_liver=True, min_lesion_ml=0.01)
segmenter.segment_file(sys.argv[2], sys.argv[3], options, force=True)
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_scan(tiny_model_path: Path, tmp_path: Path) -> None:
    peaks_kb = []
    for slices in (1000, 2000):  # 33 MB and 66 MB of voxels, the mask half of that
        volume = np.broadcast_to(np.int16(70), (slices, 128, 128))
        affine = LPS_AFFINE[:, [2, 0, 1, 3]]
        nib.save(nib.Nifti1Image(volume, affine), tmp_path / "scan.nii.gz")
        child = subprocess.run(
            [sys.executable, "-c", PEAK, tiny_model_path, tmp_path / "scan.nii.gz", "mask.nii.gz"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": ":".join(sys.path)},
        )
        peaks_kb.append(int(child.stdout))
    assert peaks_kb[1] < 1.15 * peaks_kb[0], peaks_kb


@pytest.mark.parametrize("shape", [(1, 1, 30000), (2, 2, 64), (8, 200, 4000), (300, 300, 4097)])
def test_more_slices_than_any_ct_has_are_refused(shape: tuple[int, int, int]) -> None:
    volume = np.broadcast_to(np.int16(0), shape)
    with pytest.raises(VolumeError, match=f"{shape[2]} axial slices of .* are no CT"):
        Scan.open((volume, np.diag([-0.7, -0.7, 0.5, 1])))
