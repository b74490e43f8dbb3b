"""RT structure sets: contours that enclose the voxels of the masks, holes included."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray

from lits_runtime.volumes.dicom_objects.contours import outlines
from lits_runtime.volumes.dicom_objects.facts import ObjectOptions
from lits_runtime.volumes.dicom_objects.identity import write_object
from lits_runtime.volumes.dicom_objects.rtstruct import make_rtstruct
from support.dicom.labelled_series import (
    ALGORITHM,
    PLANES,
    Labelled,
    as_multi_frame,
    labelled,
    without_one,
)
from support.dicom.programs import broken_rules


def filled(polygons: list[NDArray[np.float64]], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels whose centre is inside an odd number of polygons, by matplotlib."""
    rows, columns = np.indices(shape)
    centres = np.stack([columns.ravel(), rows.ravel()], 1)
    inside = np.zeros(len(centres), bool)
    for polygon in polygons:
        inside ^= Polygon(np.concatenate([polygon, polygon[:1]])).contains_points(centres)
    return inside.reshape(shape)


def structures_of(case: Labelled, path: Path, **options: Any) -> Path:
    made = make_rtstruct(case.series, case.labels, ALGORITHM, ObjectOptions(**options))
    assert made is not None
    with path.open("wb") as file:
        write_object(file, made)
    return path


def masks(path: Path, case: Labelled) -> dict[str, NDArray[np.bool_]]:
    """Regions as (k, j, i), from the contours' world coordinates."""
    made, geometry = pydicom.dcmread(path), case.series.geometry
    to_voxel = np.linalg.inv(geometry.affine) @ np.diag([-1.0, -1, 1, 1])
    regions = {}
    for named, drawn in zip(made.StructureSetROISequence, made.ROIContourSequence, strict=True):
        assert named.ROINumber == drawn.ReferencedROINumber
        polygons: dict[int, list[NDArray[np.float64]]] = {}
        for contour in drawn.ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert len(points) == contour.NumberOfContourPoints >= 4
            voxels = points @ to_voxel[:3, :3].T + to_voxel[:3, 3]
            k = round(voxels[0, 2])
            assert np.abs(voxels[:, 2] - k).max() < 0.01
            polygons.setdefault(k, []).append(voxels[:, :2])
        mask = np.zeros(case.labels.shape, bool)
        for k, some in polygons.items():
            mask[k] = filled(some, mask.shape[1:])
        regions[str(named.ROIName)] = mask
    return regions


@pytest.mark.parametrize("seed", range(20))
def test_outlines_enclose_exactly_the_mask(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((17, 23)) < random.random()
    assert np.array_equal(filled(outlines(mask), mask.shape), mask)


def test_holes_have_outlines_of_their_own() -> None:
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    outer, hole = outlines(mask)
    assert sorted(map(len, (outer, hole))) == [4, 8]
    assert outlines(np.zeros((3, 3), bool)) == []


@pytest.mark.parametrize(
    "how",
    [*({"plane": plane} for plane in PLANES), {"shear": 0.25}, {"change": as_multi_frame}],
    ids=[*PLANES, "tilted", "multi-frame"],
)
def test_regions_are_the_masks(how: Any, tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct", **how)
    path = structures_of(case, tmp_path / "rt.dcm")
    assert broken_rules(path) == []
    found = masks(path, case)
    assert np.array_equal(found["Liver"], case.labels > 0)
    assert np.array_equal(found["Lesions"], case.labels == 2)


def test_each_lesion_may_be_a_region(tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct")
    found = masks(structures_of(case, tmp_path / "rt.dcm", segment_per_lesion=True), case)
    volumes_ml = [one.volume_ml for one in case.report().lesions]
    sizes = [found[f"Lesion {n}"].sum() * case.series.geometry.voxel_ml for n in (1, 2, 3)]
    assert sizes == pytest.approx(volumes_ml)
    assert len(found) == 4


def test_contours_refer_to_the_images_at_their_place(tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct", change=without_one, fill_missing=True)
    made = pydicom.dcmread(structures_of(case, tmp_path / "rt.dcm"))
    positions = {one.sop_instance_uid: one.position[2] for one in case.series.slices}
    filled_mm = [one.position[2] for one in case.series.slices if one.filled]
    for contour in made.ROIContourSequence[0].ContourSequence:
        images = contour.get("ContourImageSequence", [])
        found = [positions[str(one.ReferencedSOPInstanceUID)] for one in images] or filled_mm
        assert found == pytest.approx([float(contour.ContourData[2])])


def test_a_rerun_gives_the_same_bytes(tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct")
    one, other = (structures_of(case, tmp_path / name).read_bytes() for name in "ab")
    assert one == other


def test_without_labels_there_is_nothing(tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct")
    case.labels[:] = 0
    assert make_rtstruct(case.series, case.labels, ALGORITHM, ObjectOptions()) is None
