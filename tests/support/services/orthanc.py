"""Orthanc, a PACS server of the field, started for a test on ports of this machine alone."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("Orthanc", path="/usr/sbin:/usr/bin") or "Orthanc"
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
STORESCU = "/usr/bin/storescu"
"""dcmtk's: pynetdicom installs another program of this name."""
_STARTS_WITHIN_S = 60


def missing() -> str | None:
    """Why there is no server; None if there is."""
    for program in (PROGRAM, STORESCU):
        if not Path(program).exists():
            return f"{program} is not installed"
    return None if DICOMWEB.exists() else "Orthanc's DICOMweb plugin is not installed"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@dataclass(frozen=True)
class Orthanc:
    """A running server."""

    http_port: int
    dicom_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as answer:
            content: bytes = answer.read()
            return content

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def store(self, *paths: Path) -> None:
        """Send files by C-STORE."""
        address = ["127.0.0.1", str(self.dicom_port)]
        files = list(map(str, paths))
        done = subprocess.run(
            [STORESCU, "-R", *address, *files], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr

    def store_by_web(self, *paths: Path) -> Any:
        """Send files by STOW-RS; the server's answer."""
        border = b"lits-toolkit"
        body = b"".join(
            b"--" + border + b"\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n"
            for content in (path.read_bytes() for path in paths)
        )
        kind = f'multipart/related; type="application/dicom"; boundary={border.decode()}'
        request = urllib.request.Request(
            f"{self.url}/dicom-web/studies",
            body + b"--" + border + b"--\r\n",
            {"Content-Type": kind, "Accept": "application/dicom+json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())

    def instance(self, sop_instance_uid: str) -> bytes:
        """An object as a file."""
        request = urllib.request.Request(
            f"{self.url}/tools/lookup", sop_instance_uid.encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            (found,) = json.loads(answer.read())
        return self.get(f"/instances/{found['ID']}/file")

    def clear(self) -> None:
        """Forget all objects."""
        for one in self.json("/patients"):
            request = urllib.request.Request(f"{self.url}/patients/{one}", method="DELETE")
            urllib.request.urlopen(request, timeout=60).close()


@contextmanager
def orthanc(folder: Path) -> Iterator[Orthanc]:
    """A server with its storage in a folder, stopped at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Orthanc(free_port(), free_port())
    config = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(DICOMWEB)],
        "HttpPort": server.http_port,
        "DicomPort": server.dicom_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "UnknownSopClassAccepted": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        _wait(server, process, folder / "log")
        yield server
    finally:
        process.terminate()
        process.wait(30)


def _wait(server: Orthanc, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text(errors="replace")
        try:
            server.get("/dicom-web/studies")
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"Orthanc does not answer: {log.read_text(errors='replace')}")
