"""The servers and viewers of the field: Orthanc stores the objects, OHIF draws them in place."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

from lits_runtime.volumes.dicom.find import find_series
from lits_runtime.volumes.dicom_objects.capture import make_sc
from lits_runtime.volumes.dicom_objects.facts import ObjectOptions
from lits_runtime.volumes.dicom_objects.identity import write_object
from lits_runtime.volumes.dicom_objects.report import make_sr
from lits_runtime.volumes.dicom_objects.rtstruct import make_rtstruct
from lits_runtime.volumes.dicom_objects.seg import make_seg
from support.dicom.ct import save, set_all, slices_of
from support.dicom.labelled_series import ALGORITHM, labelled
from support.services import ohif
from support.services.dicom_node import angled
from support.services.orthanc import Orthanc, missing, orthanc

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
    ohif.assert_in_place(tmp_path / "seen.png", labels)
