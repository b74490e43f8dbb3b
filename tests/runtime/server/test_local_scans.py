"""JavaScript of the page /local against the runtime: orientations, clean-up, figures, masks."""

import json
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lits_runtime import Segmenter
from lits_runtime.cleanup.clean_up import cleaned_up
from lits_runtime.measure.lesions import LesionTracker
from lits_runtime.model.metadata import Postprocessing
from lits_runtime.server.static_site import STATIC
from lits_runtime.volumes.scan import Scan
from support.files.scans import AXIS_CODES, LPS_AFFINE, load_nifti, random_hu, reorient, save
from support.paths import ROOT
from support.services import node_runtime

SHAPE = (13, 11, 9)
STEPS = (
    Postprocessing(),
    Postprocessing(keep_largest_liver=True, min_lesion_ml=0.004),
    Postprocessing(drop_lesions_outside_liver=True, min_lesion_ml=0.003),
    Postprocessing(keep_largest_liver=True, drop_lesions_outside_liver=True),
    Postprocessing(min_liver_contact=0.4),
    Postprocessing(keep_largest_liver=True, min_liver_contact=0.3, min_lesion_ml=0.004),
)


def run_page(folder: Path, plan: list[dict[str, Any]]) -> None:
    if reason := node_runtime.missing():
        pytest.skip(reason)
    (folder / "plan.json").write_text(json.dumps(plan))
    script = str(ROOT / "tests/node/scan.mjs")
    command = ["node", "--experimental-detect-module", "--no-warnings", script]
    done = subprocess.run(
        [*command, str(STATIC), str(folder)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def hu_of(folder: Path, scan: str) -> Any:
    shape = Scan.open(folder / scan).geometry.canonical_shape
    return np.fromfile(folder / f"{scan}.hu", "<f4").reshape(shape)


def some_labels(seed: int) -> Any:
    """Labels in parts of many sizes."""
    noise = np.random.default_rng(seed).random(SHAPE[::-1])
    return np.where(noise < 0.3, 2, np.where(noise < 0.55, 1, 0)).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan in each of the 48 orientations, and what the page makes of them."""
    folder = tmp_path_factory.mktemp("scans")
    plan: list[dict[str, Any]] = []
    for number, codes in enumerate(AXIS_CODES):
        hu, affine = reorient(random_hu(SHAPE), LPS_AFFINE, codes)
        save(folder / f"{codes}.nii.gz", hu, affine)
        shape = Scan.open(folder / f"{codes}.nii.gz").geometry.canonical_shape
        some_labels(number).reshape(shape).tofile(folder / f"{codes}.labels")
        steps = vars(STEPS[number % len(STEPS)])
        files = {"scan": f"{codes}.nii.gz", "labels": f"{codes}.labels"}
        plan.append({**files, "postprocessing": steps})
    run_page(folder, plan)
    return folder


@pytest.mark.slow
def test_every_orientation_is_read_alike(folder: Path) -> None:
    for codes in AXIS_CODES:
        scan = Scan.open(folder / f"{codes}.nii.gz").load()
        expected = scan.read_slab(0, scan.geometry.canonical_shape[0])
        np.testing.assert_array_equal(hu_of(folder, f"{codes}.nii.gz"), expected)


@pytest.mark.slow
def test_clean_up_and_figures_are_those_of_the_runtime(folder: Path) -> None:
    changed = 0
    for number, codes in enumerate(AXIS_CODES):
        scan = Scan.open(folder / f"{codes}.nii.gz").load()
        geometry, labels = scan.geometry, some_labels(number)
        slabs = [(0, labels)]
        steps = STEPS[number % len(STEPS)]
        ((_, expected),) = cleaned_up(slabs, geometry, steps)
        found = np.fromfile(folder / f"{codes}.nii.gz.labels", np.uint8).reshape(labels.shape)
        np.testing.assert_array_equal(found, expected, str(steps))
        changed += int((expected != labels).any())
        tracker = LesionTracker(geometry)
        tracker.add_slab(0, expected, scan.read_slab(0, len(expected)))
        lesions, count = tracker.lesions()
        report = json.loads((folder / f"{codes}.nii.gz.json").read_text())
        assert report["lesion_count"] == count
        for lesion, shown in zip(lesions, report["lesions"], strict=True):
            for name, value in shown.items():
                assert np.allclose(value, getattr(lesion, name), rtol=1e-9, atol=1e-9), name
        mask = load_nifti(folder / f"{codes}.nii.gz.mask.nii.gz")
        stored = geometry.from_canonical(expected)
        np.testing.assert_array_equal(np.asarray(mask.dataobj), stored)
        np.testing.assert_array_equal(mask.affine, geometry.affine)
    assert changed > len(AXIS_CODES) // 2


def _headers(folder: Path) -> list[str]:
    """Scans whose headers are unlike those of the phantom: types, byte order, version, scaling."""
    hu, names = random_hu(SHAPE), []
    for dtype in ("u1", "i2", "u2", "i4", "u4", "i8", "f4", "f8", ">i2", ">f4"):
        image = nib.Nifti1Image(np.clip(hu, 0, 200).astype(dtype), LPS_AFFINE, dtype=dtype)
        if dtype.startswith(">"):
            header = image.header.as_byteswapped(">")
            image = nib.Nifti1Image(image.dataobj, LPS_AFFINE, header)
        image.header.set_data_dtype(dtype)
        names.append(f"{dtype.replace('>', 'big-')}.nii")
        nib.save(image, folder / names[-1])
    scaled = nib.Nifti1Image(hu, LPS_AFFINE)
    scaled.header.set_slope_inter(1.7, -1000.3)
    by_qform = nib.Nifti1Image(hu, LPS_AFFINE)
    by_qform.set_sform(None, 0)
    by_qform.set_qform(np.diag([-0.9, 0.8, -2, 1]), 1)
    by_sizes = nib.Nifti1Image(hu, None)
    by_sizes.header.set_zooms((0.7, 0.8, 3))
    metres = nib.Nifti1Image(hu[..., None], LPS_AFFINE * [[1e-3], [1e-3], [1e-3], [1]])
    metres.header.set_xyzt_units("meter")
    extended = nib.Nifti1Image(hu, LPS_AFFINE)
    extended.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"kept"))
    second = nib.Nifti2Image(hu, LPS_AFFINE)
    for name, image in {
        "scaled": scaled,
        "qform": by_qform,
        "sizes": by_sizes,
        "metres": metres,
        "extended": extended,
        "second": second,
    }.items():
        names.append(f"{name}.nii")
        nib.save(image, folder / names[-1])
    return names


@pytest.mark.slow
def test_headers_are_understood_and_kept(tmp_path: Path, tiny_model_path: Path) -> None:
    names = _headers(tmp_path)
    with Segmenter.open(tiny_model_path, provider="cpu") as segmenter:
        for name in names:
            labels = segmenter.segment(tmp_path / name).labels
            canonical = Scan.open(tmp_path / name).geometry.to_canonical(labels)
            np.ascontiguousarray(canonical).tofile(tmp_path / f"{name}.given")
            segmenter.segment_file(tmp_path / name, tmp_path / f"{name}.expected.nii.gz")
    given = [{"scan": name, "labels": f"{name}.given", "postprocessing": {}} for name in names]
    run_page(tmp_path, given)
    for name in names:
        scan = Scan.open(tmp_path / name).load()
        expected = scan.read_slab(0, scan.geometry.canonical_shape[0])
        np.testing.assert_array_equal(hu_of(tmp_path, name), expected, name)
        mask = load_nifti(tmp_path / f"{name}.mask.nii.gz")
        ours = load_nifti(tmp_path / f"{name}.expected.nii.gz")
        np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(ours.dataobj), name)
        np.testing.assert_array_equal(mask.affine, ours.affine, name)
        assert mask.header.extensions == ours.header.extensions, name
