"""The page in a real browser: a scan is sent, followed, looked at and fetched."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lits_runtime import Segmenter
from lits_runtime.labels import COLOURS
from lits_runtime.phantom.ct import make_phantom
from support.dicom import ct as dicom_ct
from support.files.scans import save
from support.services import browser
from support.services.served import Server

TOKEN = "correct-horse-battery"
TINTED = 300
"""Pixels; a mask that is drawn has thousands, noise of the browser has none."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    scan = make_phantom(7, matrix=64, slices=32, lesions=3)
    save(folder / "scan.nii.gz", scan.volume_hu, scan.affine)
    (folder / "broken.nii.gz").write_text("no scan " * 100)
    (folder / "token").write_text(TOKEN)
    dicom_ct.save(dicom_ct.slices_of(dicom_ct.body_hu()), folder / "series")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with Server(folder / "state", "--threads", 1, "--token-file", folder / "token") as server:
        server.http.headers["Authorization"] = f"Bearer {TOKEN}"
        yield server


@pytest.fixture(scope="module")
def seen(server: Server, folder: Path) -> dict[str, Any]:
    if reason := browser.missing():
        pytest.skip(reason)
    return browser.drive("page.mjs", server.url, folder)


def tinted(picture: Path, name: str) -> int:
    """Pixels in the hue of a class; CT and background are grey."""
    pixels = np.asarray(Image.open(picture).convert("HSV")).reshape(-1, 3)
    (wanted,) = np.asarray(Image.new("RGB", (1, 1), COLOURS[name]).convert("HSV")).reshape(1, 3)
    hue = np.abs(pixels[:, 0].astype(int) - int(wanted[0]))
    return int(((hue < 12) & (pixels[:, 1] > 60) & (pixels[:, 2] > 60)).sum())


@pytest.mark.slow
def test_the_queue_tells_where_a_scan_is(seen: dict[str, Any]) -> None:
    words = " ".join(seen["states"])
    assert "Done" in words and ("Waiting" in words or "Being segmented" in words)
    assert seen["errors"] == []


@pytest.mark.slow
def test_masks_are_drawn_in_the_colours_of_their_classes(
    seen: dict[str, Any], folder: Path
) -> None:
    for name in COLOURS:
        assert tinted(folder / "masks.png", name) > TINTED, name
        assert tinted(folder / "no-masks.png", name) < TINTED, "opacity 0"


@pytest.mark.slow
def test_the_table_jumps_to_a_lesion(seen: dict[str, Any], folder: Path) -> None:
    lesions = json.loads((folder / "scan_report.json").read_text())["lesions"]
    for place, lesion in zip(("largest", "second"), lesions[:2], strict=True):
        x, y, z = (round(abs(mm)) for mm in lesion["centroid_mm"])
        shown = [int(word) for word in seen["places"][place].split() if word.isdigit()][-3:]
        assert np.allclose(shown, (x, y, z), atol=4), "the nearest voxel"
    assert len(set(seen["places"].values())) == 3, "and the keyboard moves the cross"


@pytest.mark.slow
def test_the_mask_is_that_of_lits_infer(seen: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    assert seen["downloads"] == ["scan_mask.nii.gz", "scan_report.json", "series_seg.dcm"]
    with Segmenter.open() as segmenter:
        segmenter.segment_file(folder / "scan.nii.gz", tmp_path / "mask.nii.gz")
        segmenter.segment_file(folder / "series", tmp_path / "seg.dcm")
    assert (folder / "scan_mask.nii.gz").read_bytes() == (tmp_path / "mask.nii.gz").read_bytes()
    assert (folder / "series_seg.dcm").read_bytes() == (tmp_path / "seg.dcm").read_bytes()


@pytest.mark.slow
def test_a_folder_is_sent_without_names(seen: dict[str, Any], server: Server, folder: Path) -> None:
    assert seen["seriesFiles"][:3] == ["Mask (NIfTI)", "DICOM SEG", "DICOM SR"]
    with zipfile.ZipFile(server.state / "jobs" / seen["series"] / "scan.zip") as archive:
        names = archive.namelist()
    assert names == [f"{number:05d}.dcm" for number in range(len(names))]
    assert len(names) == len(list((folder / "series").iterdir()))


@pytest.mark.slow
def test_a_failure_is_told_to_a_person(seen: dict[str, Any]) -> None:
    assert "no CT scan that can be read" in seen["failure"]
    assert "Send DICOM, or NIfTI" in seen["failure"]


@pytest.mark.slow
def test_everybody_can_use_it_at_any_width(seen: dict[str, Any]) -> None:
    assert seen["faults"] == {"access": [], "report": []}
    assert seen["widths"] == {"1600": [], "820": [], "390": []}


@pytest.mark.slow
def test_it_asks_nobody_but_its_server(seen: dict[str, Any], server: Server) -> None:
    assert set(seen["hosts"]) == {server.url}
