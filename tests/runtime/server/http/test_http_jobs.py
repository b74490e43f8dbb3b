"""Scans over HTTP: from the upload to the mask, and what is refused on the way."""

import io
import shutil
import socket
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image, ImageColor

from lits_runtime import Options, Segmenter
from lits_runtime.labels import COLOURS
from lits_runtime.volumes.scan import Scan
from support.dicom import ct as dicom_ct
from support.files.scans import load_nifti, random_hu, save, write_scan
from support.services.served import Server, events

EYE = np.diag([1.0, 1, 2, 1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Iterator[Server]:
    state = tmp_path_factory.mktemp("served") / "state"
    limits = ("--max-upload", "8M", "--max-jobs", 3)
    with Server(state, "-m", tiny_model_path, "--threads", 1, *limits) as server:
        yield server


@pytest.fixture(scope="module")
def long_scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that takes about a second."""
    path = tmp_path_factory.mktemp("long") / "long.nii"
    return save(path, np.tile(random_hu((64, 64, 8)), (1, 1, 110)), EYE)


def test_the_mask_is_that_of_lits_infer(
    server: Server, tmp_path: Path, tiny_model_path: Path
) -> None:
    scan = write_scan(tmp_path / "Doe^John.nii.gz")
    options = {"thresholds": {"lesion": 0.7}, "tta": False}
    answer = server.send(scan, **options)
    assert answer.status_code == 202
    shown = answer.json()
    assert answer.headers["location"] == shown["links"]["self"] == f"/api/jobs/{shown['id']}"
    done = server.wait_for(shown["id"], "done")
    assert done["progress"] == 1 and done["position"] == 0 and done["error"] is None
    expected = tmp_path / "expected.nii.gz"
    with Segmenter.open(tiny_model_path) as segmenter:
        report = segmenter.segment_file(scan, expected, Options(thresholds={"lesion": 0.7}))
    mask = tmp_path / "mask.nii.gz"
    mask.write_bytes(server.http.get(server.url + done["links"]["mask"]).content)
    assert np.array_equal(load_nifti(mask).dataobj, load_nifti(expected).dataobj)
    assert np.array_equal(load_nifti(mask).affine, load_nifti(expected).affine)
    found = server.http.get(server.url + done["links"]["report"]).json()
    assert found == done["report"]
    assert found["volumes_ml"] == report.volumes_ml
    assert found["scan_sha256"] == report.scan_sha256
    assert done["warnings"] == list(report.warnings)


def test_a_zip_of_a_dicom_series_is_a_scan(
    server: Server, tmp_path: Path, tiny_model_path: Path
) -> None:
    dicom_ct.save(dicom_ct.slices_of(dicom_ct.body_hu()), tmp_path / "series")
    archive = Path(shutil.make_archive(str(tmp_path / "scan"), "zip", tmp_path / "series"))
    done = server.wait_for(server.accepted(archive), "done", "failed")
    assert done["state"] == "done", done["error"]
    assert dicom_ct.PATIENT_NAME not in server.log.read_text() + str(done)
    mask = tmp_path / "mask.nii.gz"
    mask.write_bytes(server.http.get(server.url + done["links"]["mask"]).content)
    with Segmenter.open(tiny_model_path) as segmenter:
        labels = segmenter.segment(archive).labels
        segmenter.segment_file(archive, tmp_path / "own", formats=("nifti", "seg", "sr"))
    assert np.array_equal(load_nifti(mask).dataobj, labels)
    assert mask.read_bytes() == (tmp_path / "own/mask.nii.gz").read_bytes()
    for name in ("seg", "sr"):
        answer = server.http.get(server.url + done["links"][name])
        assert answer.headers["content-type"] == "application/dicom"
        assert answer.content == (tmp_path / f"own/{name}.dcm").read_bytes()
    found = server.http.get(server.url + done["links"]["scan"])
    shown = tmp_path / "scan.nii.gz"
    shown.write_bytes(found.content)
    with closing(Scan.open(archive)) as scan, closing(Scan.open(shown)) as same:
        assert np.array_equal(load_nifti(shown).affine, scan.geometry.affine)
        slices = scan.geometry.canonical_shape[0]
        assert np.array_equal(same.read_slab(0, slices), scan.read_slab(0, slices))


def test_the_overlay_has_the_colours_of_liver_and_lesion(
    server: Server, tmp_path: Path, tiny_model_path: Path
) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz")
    done = server.wait_for(server.accepted(scan), "done")
    assert not {"seg", "sr"} & set(done["links"])
    answer = server.http.get(server.url + done["links"]["overlay"])
    assert answer.headers["content-type"] == "image/png"
    picture = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
    with Segmenter.open(tiny_model_path) as segmenter:
        labels = segmenter.segment(scan).labels
    assert {1, 2} <= set(np.unique(labels))
    for colour in COLOURS.values():
        assert (picture == ImageColor.getrgb(colour)).all(axis=2).any(), "its outline"
    for name in ("seg.dcm", "sr.dcm"):
        answer = server.http.get(f"{server.url}/api/jobs/{done['id']}/{name}")
        assert answer.status_code == 409 and "not DICOM" in answer.json()["detail"]


def test_nothing_tells_the_name_of_the_file(server: Server, tmp_path: Path) -> None:
    job_id = server.accepted(write_scan(tmp_path / "Doe^John.nii"))
    text = str(server.wait_for(job_id, "done"))
    for told in (text, server.log.read_text(), str(server.audit()), str(server.files())):
        assert "Doe" not in told


def test_events_tell_of_the_progress(server: Server, long_scan: Path) -> None:
    job_id = server.accepted(long_scan)
    answer = server.http.get(f"{server.url}/api/jobs/{job_id}/events", stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    jobs = events(answer.iter_lines())
    assert jobs[-1]["state"] == "done"
    assert [job["progress"] or 0 for job in jobs] == sorted(job["progress"] or 0 for job in jobs)
    assert any(0 < (job["progress"] or 0) < 1 for job in jobs)


def test_a_full_queue_says_when_to_come_back(server: Server, long_scan: Path) -> None:
    ids = [server.accepted(long_scan) for _ in range(3)]
    waiting = server.job(ids[2])
    assert waiting["state"] == "queued" and waiting["position"] in (1, 2)
    answer = server.send(long_scan)
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
    assert not server.http.get(f"{server.url}/api/jobs").json()["accepting"]
    for job_id in reversed(ids):
        assert server.http.delete(f"{server.url}/api/jobs/{job_id}").status_code == 204
    states = [server.job(job_id)["state"] for job_id in ids]
    assert set(states) <= {"cancelled", "done"} and states[1:] == ["cancelled"] * 2
    server.wait_for(server.accepted(long_scan), "done")


def test_a_removed_job_leaves_no_file(server: Server, long_scan: Path, tmp_path: Path) -> None:
    running, waiting = server.accepted(long_scan), server.accepted(long_scan)
    server.wait_for(running, "running")
    for job_id in (running, waiting):
        assert server.http.delete(f"{server.url}/api/jobs/{job_id}").status_code == 204
        assert server.job(job_id)["state"] == "cancelled"
    done = server.accepted(write_scan(tmp_path / "next.nii"))
    server.wait_for(done, "done")  # so the worker has let go of the first
    assert not {name for name in server.files() if running in name or waiting in name}
    assert server.http.delete(f"{server.url}/api/jobs/{done}").status_code == 204
    assert server.http.get(f"{server.url}/api/jobs/{done}").status_code == 404
    assert server.http.delete(f"{server.url}/api/jobs/{done}").status_code == 404
    assert not {name for name in server.files() if done in name}
    ended = {line["job"]: line["state"] for line in server.audit()}
    assert (ended[running], ended[done]) == ("cancelled", "done")


@pytest.mark.parametrize("name", ["text.nii", "cut.nii.gz", "empty.zip"])
def test_a_scan_that_is_none_fails_in_one_line(server: Server, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "text.nii":
        path.write_text("no scan " * 100)
    elif name == "empty.zip":
        zipfile.ZipFile(path, "w").close()
    else:
        path.write_bytes(write_scan(tmp_path / "whole.nii.gz").read_bytes()[:200])
    failed = server.wait_for(server.accepted(path), "failed", "done")
    assert failed["state"] == "failed"
    assert failed["error"].count("\n") == 0
    assert str(server.state) not in failed["error"] and "Traceback" not in failed["error"]
    assert server.http.get(f"{server.url}/api/jobs/{failed['id']}/mask.nii.gz").status_code == 409


def post(server: Server, **arguments: Any) -> tuple[int, str]:
    answer = server.http.post(f"{server.url}/api/jobs", **arguments)
    assert "Traceback" not in answer.text and set(answer.json()) == {"detail"}
    return answer.status_code, answer.json()["detail"]


SCAN = {"scan": io.BytesIO(b"x" * 400)}
FAULTS: dict[str, tuple[dict[str, Any], int, str]] = {
    "no multipart": ({"data": b"x"}, 415, "multipart/form-data"),
    "no scan": ({"files": {"options": b"{}"}}, 422, "no field 'scan'"),
    "an empty scan": ({"files": {"scan": b""}}, 422, "empty"),
    "another field": ({"files": {"scam": b"x"}}, 422, "another name"),
    "two scans": ({"files": [("scan", b"x"), ("scan", b"y")]}, 422, "two fields"),
    "no JSON": ({"files": {"scan": b"x", "options": b"{"}}, 422, "not JSON"),
    "deep JSON": ({"files": {"scan": b"x", "options": b"[" * 9000}}, 422, "options"),
    "long options": ({"files": {"scan": b"x", "options": b" " * 20_000}}, 413, "options"),
    "no option": ({"files": {"scan": b"x", "options": b'{"a": 1}'}}, 422, "options.a"),
    "a wrong type": ({"files": {"scan": b"x", "options": b'{"tta": 1}'}}, 422, "options.tta"),
    "a wrong class": (
        {"files": {"scan": b"x", "options": b'{"thresholds": {"spleen": 0.5}}'}},
        422,
        "no class spleen",
    ),
    "NaN": ({"files": {"scan": b"x", "options": b'{"min_lesion_ml": NaN}'}}, 422, "options"),
    "too large": ({"files": {"scan": b"x" * (9 * 2**20)}}, 413, "8388608 bytes"),
    "cut off": (
        {"data": b"--b\r\n", "headers": {"content-type": "multipart/form-data; boundary=b"}},
        400,
        "ends before",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_request_is_refused_in_one_line(server: Server, fault: str) -> None:
    arguments, status, words = FAULTS[fault]
    before = server.files()
    found, detail = post(server, **arguments)
    assert found == status and words in detail
    assert server.files() == before, "nothing is left of it"


def test_a_chunked_upload_is_measured_as_it_comes(server: Server) -> None:
    def endless() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="scan"; filename="a"\r\n\r\n'
        for _ in range(20):
            yield b"x" * 2**20

    status, detail = post(
        server, data=endless(), headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert status == 413 and "limit" in detail
    assert not list((server.state / "incoming").iterdir())


def test_a_sender_that_hangs_up_leaves_nothing(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = (
            f"POST /api/jobs HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disposition: "
            'form-data; name="scan"\r\n\r\nxxx'
        )
        connection.sendall(head.encode())
        while not list((server.state / "incoming").iterdir()):
            time.sleep(0.02)
    while list((server.state / "incoming").iterdir()):
        time.sleep(0.02)
    assert server.http.get(f"{server.url}/healthz").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "%2e%2e/%2e%2e/queue.sqlite", "..%2f..%2faudit.log", "x" * 32, "A" * 32],
)
def test_a_path_trick_finds_nothing(server: Server, path: str) -> None:
    for url in (f"/api/jobs/{path}", f"/api/jobs/{path}/mask.nii.gz", f"/{path}"):
        answer = server.http.get(server.url + url)
        assert answer.status_code in (404, 422), url
        assert set(answer.json()) == {"detail"}


def test_memory_stays_flat_while_a_large_scan_comes_in(server: Server, tmp_path: Path) -> None:
    server.wait_for(server.accepted(write_scan(tmp_path / "small.nii")), "done")
    before = server.memory_mb()
    scan = tmp_path / "large.nii"
    nib.save(nib.Nifti1Image(np.zeros((200, 200, 95), np.int16), EYE), scan)  # 7.6 MB
    for _ in range(5):
        server.wait_for(server.accepted(scan), "done")
    assert server.memory_mb() - before < 8 * 2.5
