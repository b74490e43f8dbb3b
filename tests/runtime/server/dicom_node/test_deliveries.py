"""Results on their way: a peer that is down, one that refuses, sending again, TLS both ways."""

import io
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydicom
import pytest

from support.services.dicom_node import NodeServer, series, storescp, storescu
from support.services.orthanc import free_port, missing

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    if reason := missing():
        pytest.skip(reason)


def states(server: NodeServer) -> list[tuple[str, str]]:
    return sorted((one["kind"], one["state"]) for one in server.deliveries())


def kinds(folder: Path) -> list[str]:
    return sorted(
        pydicom.dcmread(io.BytesIO(file.read_bytes())).Modality for file in folder.iterdir()
    )


def post(server: NodeServer, path: str) -> Any:
    answer = server.http.post(f"{server.url}/api/{path}")
    return answer.status_code, answer.json()


def test_results_wait_for_a_peer_that_is_down_and_survive_a_kill(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    port = free_port()
    options = ("--peer", f"PACS@127.0.0.1:{port}")
    series(tmp_path / "ct")
    with NodeServer(tmp_path / "state", tiny_model_path, *options) as server:
        server.sent(tmp_path / "ct")
        job_id = server.settled()["id"]
        server.until(lambda: [one["error"] for one in server.deliveries() if one["error"]])
        assert states(server) == [("seg", "waiting"), ("sr", "waiting")]
        assert {one["error"] for one in server.deliveries()} == {
            "cannot be reached: Connection refused"
        }
        server.end(9)
        server.start()
        with storescp(port, tmp_path / "pacs") as arrived:
            assert post(server, "outbox/retry") == (202, {"deliveries": 2})
            server.until(lambda: states(server) == [("seg", "sent"), ("sr", "sent")])
            assert kinds(arrived) == ["SEG", "SR"]
            for file in arrived.iterdir():
                file.unlink()
            assert post(server, f"jobs/{job_id}/send") == (202, {"deliveries": 2})
            server.until(lambda: states(server) == [("seg", "sent"), ("sr", "sent")])
            assert kinds(arrived) == ["SEG", "SR"]
        assert 'lits_deliveries{state="sent"} 2' in server.http.get(f"{server.url}/metrics").text


@contextmanager
def web_service(answers: list[tuple[int, bytes]]) -> Iterator[tuple[str, list[Any]]]:
    """A DICOMweb service that gives answers in turn, the last for ever; its URL and requests."""
    requests: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.path, dict(self.headers), body))
            status, content = answers[min(len(requests), len(answers)) - 1]
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=service.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{service.server_port}/web", requests
    finally:
        service.shutdown()
        thread.join()
        service.server_close()


def test_what_a_service_refuses_is_dead_until_it_is_asked_for(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    """A status of 200 with failures inside is a failure; another peer does not wait for it."""
    (tmp_path / "header").write_text("Basic bGl0czpzZWNyZXQ=\n")
    failed = b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]}}'
    series(tmp_path / "ct")
    port = free_port()
    with (
        web_service([(200, failed), (401, b"who?"), (200, b"{}")]) as (url, requests),
        storescp(port, tmp_path / "pacs") as arrived,
    ):
        options = ("--peer", url, "--peer", f"PACS@127.0.0.1:{port}", "--give-up", "0s")
        authorization = ("--peer-authorization", tmp_path / "header")
        with NodeServer(tmp_path / "state", tiny_model_path, *options, *authorization) as server:
            server.sent(tmp_path / "ct")
            server.until(lambda: len(server.deliveries()) == 4)
            server.until(lambda: not [one for one in states(server) if one[1] == "waiting"])
            assert kinds(arrived) == ["SEG", "SR"]
            dead = {one["kind"]: one for one in server.deliveries() if one["peer"] == url}
            assert {one["state"] for one in dead.values()} == {"dead"}
            assert dead["seg"]["error"] == "refused with failure reason 0x0110"
            assert dead["sr"]["error"] == "HTTP status 401: see --peer-authorization"
            assert post(server, "outbox/retry") == (202, {"deliveries": 2})
            server.until(lambda: states(server).count(("seg", "sent")) == 2)
            server.until(lambda: states(server).count(("sr", "sent")) == 2)
            assert server.end() == 0
            lines = [line for line in server.audit() if "delivery" in line and line["peer"] == url]
    assert sorted(line["state"] for line in lines) == ["dead", "dead", "sent", "sent"]
    path, headers, body = requests[0]
    assert path == "/web/studies"
    assert headers["Authorization"] == "Basic bGl0czpzZWNyZXQ="
    assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"')
    assert body.count(b"DICM") == 1
    assert "secret" not in server.log.read_text() and "bGl0" not in server.log.read_text()


def certificate(folder: Path, name: str, ca: str = "ca") -> tuple[Path, Path]:
    """A key and a certificate for this machine, signed by an authority that is made if it lacks."""
    if not (folder / f"{ca}.pem").exists():
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-keyout", folder / f"{ca}.key", "-out", folder / f"{ca}.pem"),
            *("-subj", f"/CN={ca}", "-days", 2),
        )
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem", "-days", 2),
        *("-CA", folder / f"{ca}.pem", "-CAkey", folder / f"{ca}.key", "-subj", f"/CN={name}"),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"),
    )
    return folder / f"{name}.key", folder / f"{name}.pem"


def openssl(*arguments: object) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_tls_in_both_directions_needs_certificates_of_one_authority(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    key, own = certificate(tmp_path, "node")
    sender = certificate(tmp_path, "sender")
    stranger = certificate(tmp_path, "stranger", "other")
    ca, port = tmp_path / "ca.pem", free_port()
    series(tmp_path / "ct")
    options = ("--dicom-certificate", own, "--dicom-key", key, "--dicom-ca", ca)
    peer = ("--peer", f"PACS@127.0.0.1:{port}")
    tls = ("+tls", *certificate(tmp_path, "pacs"), "+cf", ca)
    with (
        storescp(port, tmp_path / "pacs", *tls) as arrived,
        NodeServer(tmp_path / "state", tiny_model_path, *options, *peer) as server,
    ):
        assert storescu(server.dicom_port, tmp_path / "ct").returncode != 0
        foreign = storescu(server.dicom_port, tmp_path / "ct", "+tls", *stranger, "+cf", ca)
        assert foreign.returncode != 0
        assert not server.series()
        done = storescu(server.dicom_port, tmp_path / "ct", "+tls", *sender, "+cf", ca)
        assert done.returncode == 0, done.stderr
        server.until(lambda: states(server) == [("seg", "sent"), ("sr", "sent")])
        assert kinds(arrived) == ["SEG", "SR"]
        assert "refused a connection from 127.0.0.1: TLS: " in server.log.read_text()
