"""The servers and viewers of the field: Orthanc stores the objects, OHIF draws them in place."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image

from lits_runtime.volumes.dicom.find import find_series
from lits_runtime.volumes.dicom_objects.capture import make_sc
from lits_runtime.volumes.dicom_objects.facts import ObjectOptions
from lits_runtime.volumes.dicom_objects.identity import write_object
from lits_runtime.volumes.dicom_objects.report import make_sr
from lits_runtime.volumes.dicom_objects.rtstruct import make_rtstruct
from lits_runtime.volumes.dicom_objects.seg import make_seg
from support import ohif
from support.dicom_ct import save, set_all, slices_of
from support.labelled_series import ALGORITHM, labelled
from support.orthanc import Orthanc, missing, orthanc

pytestmark = pytest.mark.slow
OPTIONS = ObjectOptions()


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if reason := missing():
        pytest.skip(reason)
    with orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One of each kind, about one series."""
    folder = tmp_path_factory.mktemp("objects")
    case = labelled(folder / "ct")
    labels, report, hu = case.labels, case.report(), case.hu
    seg = make_seg(case.series, labels, ALGORITHM, OPTIONS)
    made = {
        "seg": seg,
        "sr": make_sr(case.series, labels, seg, report, ALGORITHM, OPTIONS),
        "sc": next(make_sc(case.series, labels, lambda a, b: hu[a:b], report, ALGORITHM, OPTIONS)),
        "rtstruct": make_rtstruct(case.series, labels, ALGORITHM, OPTIONS),
    }
    for name, one in made.items():
        assert one is not None
        with (folder / name).open("wb") as file:
            write_object(file, one)
    return [folder / name for name in made]


def assert_given_back(pacs: Orthanc, paths: list[Path]) -> None:
    for path in paths:
        sent = pydicom.dcmread(path)
        stored = pydicom.dcmread(io.BytesIO(pacs.instance(sent.SOPInstanceUID)))
        assert stored == sent, path.name


def test_a_pacs_takes_objects_by_c_store(pacs: Orthanc, objects: list[Path]) -> None:
    pacs.clear()
    pacs.store(*objects)
    assert_given_back(pacs, objects)


def test_a_pacs_takes_objects_by_stow_rs(pacs: Orthanc, objects: list[Path]) -> None:
    pacs.clear()
    answer = pacs.store_by_web(*objects)
    assert len(answer["00081199"]["Value"]) == len(objects)
    assert_given_back(pacs, objects)


def angled() -> NDArray[np.uint8]:
    """Labels (k, j, i): an L that moves down from slice to slice, a lesion near its upper end."""
    labels = np.zeros((16, 128, 128), np.uint8)
    for k in range(3, 13):
        top = 20 + 4 * k
        labels[k, top : top + 40, 30:44] = 1
        labels[k, top + 26 : top + 40, 30:90] = 1
        labels[k, top + 2 : top + 10, 32:40] = 2
    return labels


def test_a_viewer_draws_the_labels_in_place(pacs: Orthanc, tmp_path: Path) -> None:
    """The CT is bright where the labels are, and black elsewhere, in whichever slice is shown."""
    if reason := ohif.missing():
        pytest.skip(reason)
    labels = angled()
    hu = np.where(labels > 0, 250, -800).transpose(2, 1, 0)
    affine = np.array([[-2.0, 0, 0, 128], [0, -2, 0, 128], [0, 0, 4, -30], [0, 0, 0, 1]])
    slices = slices_of(hu, affine)
    set_all(slices, WindowCenter=0, WindowWidth=400, SeriesDescription="CT")
    files = save(slices, tmp_path / "ct")
    (series,) = find_series([tmp_path / "ct"]).series
    seg = make_seg(series, labels, ALGORITHM, OPTIONS)
    assert seg is not None
    with (tmp_path / "seg.dcm").open("wb") as file:
        write_object(file, seg)
    pacs.clear()
    pacs.store_by_web(*files, tmp_path / "seg.dcm")
    with ohif.viewer(pacs.url) as address:
        ohif.look(f"{address}/viewer?StudyInstanceUIDs={series.study_uid}", tmp_path / "seen.png")
    seen = np.asarray(Image.open(tmp_path / "seen.png").convert("RGB")).astype(int)
    bright, coloured = seen.max(2) > 180, np.ptp(seen, axis=2) > 40
    assert np.count_nonzero(bright) > 5000
    assert np.count_nonzero(bright != coloured) < 0.03 * np.count_nonzero(bright)
    pixel = np.sqrt(np.count_nonzero(bright) / np.count_nonzero(labels[5]))
    orange = bright & (seen[:, :, 1] < 0.85 * seen[:, :, 0])
    rows, columns = (np.nonzero(orange)[axis] for axis in (0, 1))
    upper, left = (np.nonzero(bright)[axis].min() for axis in (0, 1))
    assert rows.min() - upper == pytest.approx(2 * pixel, abs=pixel)
    assert columns.min() - left == pytest.approx(2 * pixel, abs=pixel)
    assert np.ptp(rows) == pytest.approx(8 * pixel, abs=pixel)
    assert np.ptp(columns) == pytest.approx(8 * pixel, abs=pixel)
