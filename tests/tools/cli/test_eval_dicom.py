"""lits-eval on DICOM: the scores of a SEG are those of the mask, on whatever grid it lies."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from lits_tools.cli.eval import main
from lits_tools.scores.pairs import find_pairs
from support.dicom.ct import set_all
from support.dicom.labelled_series import Labelled, labelled
from support.dicom.segs import write_seg
from support.files.scans import reorient, save
from support.networks.tiny_models import tiny_model


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--resamples", "100"])


def scores(*arguments: object) -> Any:
    found = run(*arguments, "--json")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)["cases"]


def moved(case: Labelled) -> Labelled:
    """A prediction: the labels two voxels from where they are, in the series' own order."""
    return replace(case, labels=np.roll(case.labels, 2, axis=2))


def as_nifti(path: Path, case: Labelled) -> Path:
    """The labels of a series in a file in RAS, a grid that never was in DICOM."""
    canonical = case.series.geometry.to_canonical(case.labels.T)
    labels, affine = reorient(
        canonical.transpose(2, 1, 0), case.series.geometry.canonical_affine, "RAS"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(path, labels, affine)


@pytest.fixture(scope="module", params=["axial", "coronal"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    return labelled(tmp_path_factory.mktemp("ct"), request.param)


def without_empty_frames(path: Path) -> Path:
    """As other programs write SEGs: their frames span the labels, not the series."""
    seg: Any = pydicom.dcmread(path)
    pixels = seg.pixel_array
    kept = [number for number, frame in enumerate(pixels) if frame.any()]
    assert len(kept) < len(pixels)
    groups = seg.PerFrameFunctionalGroupsSequence
    seg.PerFrameFunctionalGroupsSequence = [groups[number] for number in kept]
    seg.NumberOfFrames = len(kept)
    seg.PixelData = np.packbits(pixels[kept].ravel(), bitorder="little").tobytes()
    seg.save_as(path)
    return path


def test_a_seg_has_the_scores_of_the_mask(case: Labelled, tmp_path: Path) -> None:
    reference = as_nifti(tmp_path / "reference.nii.gz", case)
    predicted = as_nifti(tmp_path / "predicted.nii.gz", moved(case))
    seg = without_empty_frames(write_seg(moved(case), tmp_path / "seg.dcm"))
    seg_gt = without_empty_frames(write_seg(case, tmp_path / "gt.dcm"))
    (wanted,) = scores(predicted, reference).values()
    assert 0.3 < wanted["lesion_dice"] < 0.95
    for pair in ((seg, reference), (predicted, seg_gt), (seg, seg_gt)):
        (found,) = scores(*pair).values()
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            same = value if value is None else pytest.approx(value, rel=1e-6)
            assert found[name] == same, (name, pair)


def test_a_seg_of_another_place_is_refused(case: Labelled, tmp_path: Path) -> None:
    seg = write_seg(case, tmp_path / "seg.dcm")
    labels = np.zeros(case.geometry.shape, np.uint8)
    shifted = case.geometry.affine.copy()
    shifted[:3, 3] += 0.3
    found = run(seg, save(tmp_path / "shifted.nii", labels, shifted))
    assert found.exit_code == 1
    assert "seg.dcm: its voxels are not those of the reference (off by up to 0" in found.stderr
    part = save(tmp_path / "part.nii", labels[:9], case.geometry.affine)
    assert "there are labels outside the reference; give" in run(seg, part).stderr
    assert "there are labels outside the prediction; give" in run(part, seg).stderr
    far = pydicom.dcmread(seg)
    for frame in far.PerFrameFunctionalGroupsSequence:
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        position[:] = [float(x) + 75000 for x in position]
    far.save_as(tmp_path / "far.dcm")
    assert "far.dcm: a grid of (" in run(tmp_path / "far.dcm", seg).stderr
    by_index = run(seg, as_nifti(tmp_path / "reference.nii.gz", case), "--ignore-affine")
    assert "seg.dcm: a DICOM SEG, which is matched by geometry and never by" in by_index.stderr
    scan = next(case.folder.iterdir())
    assert "DICOM of modality CT; expected a DICOM SEG" in run(scan, seg).stderr


def test_folders_of_segs_and_masks(case: Labelled, tmp_path: Path) -> None:
    """As named by hand, and as lits-infer names the folders of series; CT lies about."""
    predicted, reference = tmp_path / "predicted", tmp_path / "reference"
    write_seg(moved(case), predicted / "case-7_seg.dcm")
    write_seg(moved(case), predicted / case.series.name / "seg.dcm")
    write_seg(case, predicted / "sub/case-9/seg.dcm")
    as_nifti(predicted / "sub/case-9/mask.nii.gz", moved(case))
    shutil.copytree(case.folder, predicted / "ct")
    as_nifti(reference / "segmentation-case-7.nii.gz", case)
    as_nifti(reference / f"{case.series.name}_mask.nii.gz", case)
    write_seg(case, reference / "case-9.dcm")
    pairs = find_pairs(predicted, reference)
    assert {pair.case_id for pair in pairs} == {"case-7", case.series.name, "case-9"}
    found = scores(predicted, reference)
    assert [one["lesion_dice"] for one in found.values()] == pytest.approx(
        [found["case-7"]["lesion_dice"]] * 3
    )
    assert found["case-7"]["lesion_dice"] < 1
    assert all(one["lesion_dice"] == 1 for one in scores(reference, reference).values())


def test_a_model_on_series(tmp_path: Path) -> None:
    case = labelled(tmp_path / "study/a")
    model, references = tmp_path / "tiny.onnx", tmp_path / "references"
    model.write_bytes(tiny_model())

    def other(slices: list[pydicom.Dataset]) -> list[pydicom.Dataset]:
        set_all(slices, SeriesInstanceUID="1.2.826.0.1.3680043.8.498.5", SeriesNumber=5)
        return slices

    second = labelled(tmp_path / "study/b", change=other)
    for one in (case, second):
        write_seg(one, references / one.series.name / "seg.dcm")
    found = scores("-m", model, "--provider", "cpu", tmp_path / "study", references)
    assert set(found) == {case.series.name, second.series.name}
    seg = references / case.series.name / "seg.dcm"
    page = tmp_path / "page.html"
    (alone,) = scores(*("-m", model, "--provider", "cpu", case.folder, seg, "-o", page)).values()
    assert alone == found[case.series.name]
    assert 'src="data:image/png;base64,' in page.read_text()


def empty(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.zeros_like(labels)


def test_a_reference_without_labels_takes_a_seg(case: Labelled, tmp_path: Path) -> None:
    seg = write_seg(case, tmp_path / "seg.dcm")
    reference = save(tmp_path / "none.nii", empty(case.reference), case.geometry.affine)
    (found,) = scores(seg, reference).values()
    assert found["liver_dice"] == 0
