"""The page that segments in the browser alone, in a browser: labels, requests, fallbacks, hosts."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lits_runtime import Segmenter
from lits_runtime.phantom.ct import make_phantom
from lits_runtime.server.static_site import write_static
from lits_runtime.volumes.scan import Scan
from support.dicom import ct as dicom_ct
from support.dicom.syntaxes import WRITERS
from support.files.scans import LPS_AFFINE, load_nifti, random_hu, reorient, save
from support.networks.tiny_models import positional_model
from support.paths import SHARED_DATA
from support.services import browser
from support.services.orthanc import free_port
from support.services.served import Server

CLEANED = {
    "search_mm": 8,
    "postprocessing": {"keep_largest_liver": True, "min_lesion_ml": 0.01, "min_liver_contact": 0.2},
}
REAL_CT = SHARED_DATA / "totalsegmentator/example_ct_sm.nii.gz"
"""30 slices of a trunk, 3 x 3 x 3 mm, RAS."""
pytestmark = pytest.mark.slow


def drive(address: str, folder: Path, **plan: Any) -> dict[str, Any]:
    if reason := browser.missing():
        pytest.skip(reason)
    (folder / "plan.json").write_text(json.dumps(plan))
    return browser.drive("local.mjs", address, folder)


def given(path: Path, name: str, input_name: str = "#file") -> dict[str, Any]:
    return {"input": input_name, "files": str(path), "name": name}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local")
    scan = make_phantom(7, matrix=64, slices=24, lesions=3)
    save(folder / "scan.nii.gz", scan.volume_hu, scan.affine)
    slices = dicom_ct.slices_of(dicom_ct.body_hu())
    (folder / "series").mkdir()
    WRITERS["JPEG lossless .70, gdcm"](slices, folder / "series")
    (folder / "broken.nii.gz").write_text("no scan " * 100)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with Server(folder / "state", "--threads", 1) as server:
        yield server


@pytest.fixture(scope="module")
def seen(server: Server, folder: Path) -> dict[str, Any]:
    """The bundled model from a server that sets the headers; WebGPU is there, and breaks."""
    scans = [
        given(folder / "scan.nii.gz", "scan"),
        given(folder / "series", "series", "#folder"),
        given(folder / "broken.nii.gz", "broken"),
    ]
    if REAL_CT.exists():
        scans.append(given(REAL_CT, "real"))
    return drive(
        f"{server.url}/local/",
        folder,
        scans=scans,
        isolated=True,
        looks=True,
        gpu=True,
        cancels=str(folder / "scan.nii.gz"),
    )


def test_the_mask_is_that_of_lits_infer(seen: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    with Segmenter.open(provider="cpu") as segmenter:
        report = segmenter.segment_file(folder / "scan.nii.gz", tmp_path / "mask.nii.gz")
    ours, expected = (
        load_nifti(path) for path in (folder / "scan_mask.nii.gz", tmp_path / "mask.nii.gz")
    )
    assert np.unique(expected.dataobj).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(expected.dataobj))
    assert ours.header == expected.header
    shown = json.loads((folder / "scan_report.json").read_text())
    assert shown["model_sha256"] == report.model_sha256
    assert shown["volumes_ml"] == pytest.approx(report.volumes_ml)
    assert shown["lesion_count"] == report.lesion_count


def test_so_is_that_of_a_compressed_series(
    seen: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    with Segmenter.open(provider="cpu") as segmenter:
        segmenter.segment_file(folder / "series", tmp_path / "mask.nii.gz")
    canonical = []
    for path in (folder / "series_mask.nii.gz", tmp_path / "mask.nii.gz"):
        mask = load_nifti(path)
        geometry = Scan.open(path).geometry
        canonical.append((geometry.to_canonical(np.asarray(mask.dataobj)), geometry))
    (ours, here), (expected, there) = canonical
    assert expected.any()
    np.testing.assert_array_equal(ours, expected)
    assert here.same_grid(there)


@pytest.mark.skipif(not REAL_CT.exists(), reason="the shared data is absent")
def test_so_is_that_of_a_real_ct(seen: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    with Segmenter.open(provider="cpu") as segmenter:
        segmenter.segment_file(REAL_CT, tmp_path / "mask.nii.gz")
    ours = np.asarray(load_nifti(folder / "real_mask.nii.gz").dataobj)
    expected = np.asarray(load_nifti(tmp_path / "mask.nii.gz").dataobj)
    # WebAssembly adds up in another order: a voxel whose probability is the threshold may differ.
    assert np.count_nonzero(ours != expected) <= 1e-5 * np.count_nonzero(expected)


def test_nothing_leaves_the_computer(seen: dict[str, Any], server: Server) -> None:
    assert len(seen["requests"]) > 10
    for method, url, body in seen["requests"]:
        assert method == "GET" and body == 0, url
        assert url.startswith(f"{server.url}/") and "?" not in url, url
    assert server.http.get(f"{server.url}/api/jobs").json()["jobs"] == []


def test_the_processor_takes_over_from_webgpu(seen: dict[str, Any]) -> None:
    first, second = seen["results"]["scan"], seen["results"]["series"]
    assert "WebGPU is not used" in first["warnings"]
    assert "WebAssembly" in first["how"]
    assert "WebGPU" not in second["warnings"], "it was not asked for"


def test_errors_and_the_end_are_told(seen: dict[str, Any]) -> None:
    assert seen["errors"] == []
    assert "is no readable CT volume" in seen["results"]["broken"]["error"] or (
        "damaged" in seen["results"]["broken"]["error"]
    )
    assert seen["cancelled"] == "Cancelled." and not seen["working"]


def test_everybody_can_use_it_at_any_width(seen: dict[str, Any]) -> None:
    assert seen["faults"] == {"empty": [], "result": []}
    assert seen["widths"] == {"1400": 0, "820": 0, "390": 0}
    assert seen["jumped"]


@contextmanager
def any_host(folder: Path) -> Iterator[str]:
    """A host of static files that knows nothing of the page."""
    port = str(free_port())
    command = [sys.executable, "-m", "http.server", port, "--bind", "127.0.0.1", "-d", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as host:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            host.kill()


@pytest.mark.parametrize(
    ("workers", "isolated", "interpolation_mm", "slice_mm"),
    [("allow", True, 0.0, 2.5), ("block", False, 2.5, 0.8)],
)
def test_any_host_will_do(
    tmp_path: Path, workers: str, isolated: bool, interpolation_mm: float, slice_mm: float
) -> None:
    """With context slices, a search and a clean-up, and slices between interpolated.

    With threads by a service worker, or one.
    """
    model = tmp_path / "model.onnx"
    thresholds = [0.45, 0.55]  # at 0.5, rounding would decide on whole HU
    more = {"interpolation_mm": interpolation_mm, "thresholds": thresholds}
    model.write_bytes(positional_model(CLEANED | more))
    write_static(tmp_path / "site", model)
    grid = LPS_AFFINE @ np.diag([1, 1, slice_mm / LPS_AFFINE[2, 2], 1])
    stored, affine = reorient(random_hu((34, 30, 21)), grid, "RSA")
    scan = save(tmp_path / "scan.nii.gz", stored, affine)
    with any_host(tmp_path) as host:
        seen = drive(
            f"{host}/site/",
            tmp_path,
            scans=[given(scan, "scan")],
            isolated=isolated,
            serviceWorkers=workers,
        )
    assert ("one thread" in seen["results"]["scan"]["how"]) == (not isolated or os.cpu_count() == 1)
    with Segmenter.open(model, provider="cpu") as segmenter:
        report = segmenter.segment_file(scan, tmp_path / "expected.nii.gz")
    ours, expected = (
        np.asarray(load_nifti(tmp_path / name).dataobj)
        for name in ("scan_mask.nii.gz", "expected.nii.gz")
    )
    assert expected.any()
    assert (report.slices_looked_at < 21 / 2) == (interpolation_mm > 0)
    np.testing.assert_array_equal(ours, expected)
    assert {(method, body) for method, _, body in seen["requests"]} == {("GET", 0)}
