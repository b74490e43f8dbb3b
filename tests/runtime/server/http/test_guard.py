"""Who may use the server: tokens, hosts, origins, and the headers of every answer."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from support.files.scans import write_scan
from support.services.served import Server

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text(f"{TOKEN}\n")
    access = ("--token-file", folder / "token", "--allowed-host", "pacs.example.org")
    with Server(folder / "state", "-m", tiny_model_path, *access) as server:
        yield server


@pytest.mark.parametrize("path", ["/api/jobs", "/api/server", "/metrics", f"/api/jobs/{'0' * 32}"])
@pytest.mark.parametrize(
    "given", [None, "", "Bearer", f"Bearer {TOKEN[:-1]}", TOKEN, f"Basic {TOKEN}", "é"]
)
def test_a_wrong_token_is_refused(server: Server, path: str, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    answer = server.http.get(server.url + path, headers=headers)
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"


def test_the_right_token_opens_all(server: Server, tmp_path: Path) -> None:
    server.http.headers["Authorization"] = f"Bearer {TOKEN}"
    try:
        server.wait_for(server.accepted(write_scan(tmp_path / "scan.nii")), "done")
        text = server.http.get(f"{server.url}/metrics").text
        assert re.search(r'^lits_jobs\{state="done"\} 1\.0$', text, re.MULTILINE)
        small = {"Authorization": f"bearer {TOKEN}"}
        answer = server.http.get(f"{server.url}/api/server", headers=small)
        assert answer.json()["providers"] == ["cpu"]
    finally:
        del server.http.headers["Authorization"]
    assert TOKEN not in server.log.read_text()


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/openapi.json"])
def test_pages_and_probes_are_open(server: Server, path: str) -> None:
    assert server.http.get(server.url + path).status_code == 200


def test_an_upload_without_token_is_refused_before_it_is_read(
    server: Server, tmp_path: Path
) -> None:
    assert server.send(write_scan(tmp_path / "scan.nii")).status_code == 401
    assert not list((server.state / "incoming").iterdir())


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_another_host_name_is_refused(server: Server, host: str) -> None:
    answer = server.http.get(f"{server.url}/healthz", headers={"Host": host})
    assert answer.status_code in (400, 421)


@pytest.mark.parametrize("host", ["pacs.example.org", "PACS.example.org:443", "localhost"])
def test_an_allowed_host_name_is_served(server: Server, host: str) -> None:
    assert server.http.get(f"{server.url}/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://["]
)
def test_a_page_of_another_site_is_refused(server: Server, origin: str) -> None:
    answer = server.http.get(f"{server.url}/healthz", headers={"Origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    own = server.http.get(f"{server.url}/healthz", headers={"Origin": server.url})
    assert own.status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/jobs", "/nothing", "/healthz"])
def test_every_answer_has_the_headers(server: Server, path: str) -> None:
    headers = requests.get(server.url + path, timeout=10).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["cache-control"] == ("no-store" if path.startswith("/api") else "no-cache")
    assert "server" not in headers
