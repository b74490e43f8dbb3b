"""Requests and scans of hostile clients: answered in one line, and nothing gets out of the folder.

`LITS_SERVE_MUTATIONS` sets the number of mutated requests, 200 by default.
"""

import gzip
import os
import random
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from support.dicom import ct as dicom_ct
from support.files.scans import write_scan
from support.hostile.http_requests import answer_to, mutated, valid, zip_of, zip_of_zeros
from support.services.load import resident_mb
from support.services.served import Server

MUTATIONS = int(os.environ.get("LITS_SERVE_MUTATIONS", "200"))
OWN = re.compile(r"jobs/[0-9a-f]{32}/(scan(\.nii|\.nii\.gz|\.zip)|\d+/[\w.]+|shown/[\w.]+)")
BOMB_MB = 300


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    limits = ("--threads", 1, "--max-jobs", 100_000, "--max-upload", "8M")
    with Server(folder / "state", "-m", tiny_model_path, *limits) as server:
        yield server


def test_mutated_requests_are_answered_or_refused(server: Server, tmp_path: Path) -> None:
    before = set(server.state.parent.iterdir())
    job_id = server.accepted(write_scan(tmp_path / "scan.nii"))
    server.wait_for(job_id, "done")
    host = server.url.removeprefix("http://")
    requests = valid(host, job_id)
    for request in requests:
        assert re.match(rb"HTTP/1.1 (2\d\d|404|409)", answer_to(host, request)), request

    def status(number: int) -> str:
        chance = random.Random(number)
        request = mutated(chance.choice(requests), chance)
        answer = answer_to(host, request, patience_s=1.0)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"Traceback" not in answer, request
        assert b"\nx-injected" not in head.lower(), request
        if not head:
            return "none"
        assert re.match(rb"HTTP/1.1 \d{3} ", head), (request, head)
        assert str(server.state).encode() not in body, request
        return head[9:12].decode()

    with ThreadPoolExecutor(4) as threads:
        statuses = [*threads.map(status, range(MUTATIONS))]
    counts = {one: statuses.count(one) for one in sorted(set(statuses))}
    print(counts)
    assert not {one for one in counts if one[0] == "5"} - {"503"}, counts
    assert len(counts) > 3, "mutations that all end alike prove nothing"
    assert server.http.get(f"{server.url}/healthz").status_code == 200
    assert "Traceback" not in server.log.read_text()
    assert set(server.state.parent.iterdir()) == before
    assert [name for name in server.files() if not OWN.fullmatch(name)] == []


def scans(folder: Path) -> dict[str, bytes]:
    dicom_ct.save(dicom_ct.slices_of(dicom_ct.body_hu())[:1], folder / "series")
    (one,) = (folder / "series").iterdir()
    image = nib.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.eye(4)).to_bytes()
    outside = ["../../../evil.dcm", "/tmp/evil.dcm", "..\\evil.dcm", "a/../../evil.dcm"]
    nested = zip_of_zeros(10)
    return {
        "a ZIP that expands": zip_of_zeros(BOMB_MB),
        "a ZIP of ZIPs": zip_of([f"{number}.zip" for number in range(20)], nested),
        "a ZIP of 70,000 entries": zip_of([str(number) for number in range(70_000)], b""),
        "a gzip that expands": gzip.compress(image + bytes(BOMB_MB * 2**20), 1),
        "a ZIP with paths": zip_of(outside, one.read_bytes()),  # which are not followed
    }


@pytest.mark.slow
def test_hostile_scans_fail_in_one_line(server: Server, tmp_path: Path) -> None:
    server.wait_for(server.accepted(write_scan(tmp_path / "scan.nii")), "done")
    before = set(server.state.parent.iterdir())
    for kind, content in scans(tmp_path).items():
        (worker,) = server.worker_pids()
        memory_mb = resident_mb(worker)
        path = tmp_path / "hostile"
        path.write_bytes(content)
        ended = server.wait_for(server.accepted(path), "failed", "done")
        told = ended["error"] or ""
        assert bool(told) == ("paths" not in kind), (kind, ended)
        assert ended["attempts"] == 1 and "\n" not in told, kind
        assert str(server.state) not in told and "bug" not in told, (kind, told)
        assert server.worker_pids() == [worker], "the worker lives"
        assert "paths" in kind or resident_mb(worker) < memory_mb + BOMB_MB / 3, kind
        print(f"{kind}, {len(content)} bytes: {told}")
    assert set(server.state.parent.iterdir()) == before
    assert not Path("/tmp/evil.dcm").exists()
    assert [name for name in server.files() if not OWN.fullmatch(name)] == []
