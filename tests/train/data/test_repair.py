from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lits_runtime.volumes.scan import Geometry
from lits_train.data.cases import check_case, find_cases, open_pair
from lits_train.data.repair import TYPICAL_MM, BodySides, is_lost
from lits_train.samples.dataset import SliceDataset
from lits_train.settings.recipe import BASELINE
from support.files.cases import write_case
from support.files.scans import load_nifti

RECIPE = BASELINE.override(size=64)


@pytest.fixture(scope="module")
def real_slices(real_case: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the true geometry of some liver slices as case 1."""
    folder = tmp_path_factory.mktemp("true")
    image, mask = (load_nifti(path) for path in real_case)
    labels = np.asanyarray(mask.dataobj)
    middle = int(np.flatnonzero((labels > 0).any(axis=(0, 1))).mean())
    for name, stored in (("volume", np.asanyarray(image.dataobj)), ("segmentation", labels)):
        part = nib.Nifti1Image(stored[:, :, middle - 3 : middle + 3], image.affine)
        nib.save(part, folder / f"{name}-1.nii")
    return folder


@pytest.mark.parametrize("flips", [(), (0,), (1,), (0, 1)], ids=str)
@pytest.mark.parametrize("signs", [(1, 1), (-1, -1), (-1, 1)], ids=str)
def test_a_lost_orientation_is_found_by_the_anatomy(
    real_slices: Path, tmp_path: Path, flips: tuple[int, ...], signs: tuple[int, int]
) -> None:
    """However it was stored and whatever the header says, slices come out as they truly lie."""
    lost = np.diag([*signs, 1.0, 1.0])
    for name in ("volume-1.nii", "segmentation-1.nii"):
        stored = np.flip(np.asanyarray(load_nifti(real_slices / name).dataobj), flips)
        nib.save(nib.Nifti1Image(stored, lost), tmp_path / name)
    true, repaired = (check_case(find_cases(folder)[0]) for folder in (real_slices, tmp_path))
    assert true.affine is None
    assert repaired.affine is not None
    for number in (0, 5):
        wanted, found = (SliceDataset([case], RECIPE)[number] for case in (true, repaired))
        assert np.array_equal(wanted["hu"], found["hu"])
        assert np.array_equal(wanted["labels"], found["labels"])
    volume, mask = open_pair(repaired)
    assert volume.geometry == mask.geometry
    assert volume.geometry.spacing_mm == pytest.approx(TYPICAL_MM[::-1])
    assert any("assuming" in note for note in repaired.notes)


def test_a_stated_voxel_size_goes_before_the_headers(tmp_path: Path) -> None:
    write_case(tmp_path, "1")
    (tmp_path / "cases.json").write_text('{"spacing_mm": {"1": [0.5, 0.6, 1.5]}}')
    case = check_case(find_cases(tmp_path)[0])
    volume, _ = open_pair(case)
    assert volume.geometry.spacing_mm == pytest.approx((0.5, 0.6, 1.5))
    assert volume.geometry.axis_codes == "LPS"
    sample = SliceDataset([case], BASELINE.override(size=32))[0]
    assert sample["spacing_mm"].tolist() == pytest.approx([1.5, 0.6 * 36 / 32, 0.5 * 40 / 32])


def test_an_orientation_that_the_anatomy_does_not_show_is_kept(tmp_path: Path) -> None:
    hu, labels = np.full((8, 8, 2), -1000, np.int16), np.zeros((8, 8, 2), np.uint8)
    for name, stored in (("volume", hu), ("segmentation", labels)):
        nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / f"{name}-1.nii")
    case = check_case(find_cases(tmp_path)[0])
    assert open_pair(case)[0].geometry.axis_codes == "RAS"
    assert any("does not show it" in note for note in case.notes)


def test_what_is_lost_and_what_is_not() -> None:
    shifted = np.diag([-1.0, -1, 1, 1])
    shifted[:3, 3] = (200, 150, -30)
    assert is_lost(Geometry((512, 512, 100), shifted)), "512 mm are wider than a scanner sees"
    assert not is_lost(Geometry((330, 300, 400), shifted)), "resampled to 1 mm"
    assert not is_lost(Geometry((512, 512, 100), np.diag([0.8, 0.8, 1, 1])))


def test_the_sides_of_a_drawn_body() -> None:
    hu, labels = np.full((40, 60), -1000, np.float32), np.zeros((40, 60), np.uint8)
    hu[5:35, 5:55] = 50
    hu[28:32, 28:32] = 700  # a spine, low in the picture
    labels[10:25, 10:25] = 1
    assert (hu[::-1] != hu).any()
    for rows, columns in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
        sides = BodySides()
        sides.add(hu[::rows, ::columns], labels[::rows, ::columns])
        assert (sides.upside_down, sides.mirrored) == (rows < 0, columns < 0)
    assert BodySides().mirrored is None
