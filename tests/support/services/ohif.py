"""OHIF, a viewer of the field: fetched once, served beside a PACS, and looked at in a browser."""

import json
import shutil
import subprocess
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from support.paths import ROOT
from support.services import node_runtime

PACKAGE = "@ohif/app@3.13.2"
INTEGRITY = (
    "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA"
    "=="
)
FOLDER = ROOT / "tests/node/node_modules/.ohif-3.13.2"
_SCRIPT = ROOT / "tests/node/look.mjs"
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
_CONFIG = """window.config = {
  routerBasename: '/', showStudyList: false, extensions: [], modes: [],
  customizationService: {}, maxNumberOfWebWorkers: 2, disableConfirmationPrompts: true,
  showWarningMessageForCrossOrigin: false, showCPUFallbackMessage: false,
  investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: 'pacs',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'pacs',
    configuration: {
      friendlyName: 'pacs', name: 'pacs', wadoUriRoot: '/dicom-web', qidoRoot: '/dicom-web',
      wadoRoot: '/dicom-web', qidoSupportsIncludeField: false, imageRendering: 'wadors',
      thumbnailRendering: 'wadors', enableStudyLazyLoad: true, supportsFuzzyMatching: false,
      supportsWildcard: true, omitQuotationForMultipartRequest: true,
      bulkDataURI: { enabled: true, relativeResolution: 'studies' },
    },
  }],
};
"""


@cache
def missing() -> str | None:
    """Why there is no viewer; fetches it once, in one process at a time."""
    if not shutil.which("chromium"):
        return "chromium is not installed"
    if reason := node_runtime.missing():
        return reason
    with FileLock(Path(tempfile.gettempdir(), "lits-ohif.lock")):
        return None if FOLDER.exists() else _fetch()


def _fetch() -> str | None:
    """npm install fails, as a package that it names is not published; but it is whole."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", PACKAGE, "--json", "--loglevel=error"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            return f"npm pack failed: {done.stderr[-500:]}"
        (packed,) = json.loads(done.stdout)
        if packed["integrity"] != INTEGRITY:
            return f"{PACKAGE} is not what it was"
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            archive.extractall(folder, filter="data")
        shutil.move(Path(folder, "package/dist"), FOLDER)
    return None


@contextmanager
def viewer(pacs_url: str) -> Iterator[str]:
    """The address of the viewer, which shows what is in a PACS."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.startswith("/dicom-web"):
                self._pass_on()
            elif self.path == "/app-config.js":
                self._answer(200, _CONFIG.encode(), "text/javascript")
            else:
                file = FOLDER / self.path.partition("?")[0].lstrip("/")
                file = file if file.is_file() else FOLDER / "index.html"
                kind = _TYPES.get(file.suffix, "application/octet-stream")
                self._answer(200, file.read_bytes(), kind)

        def _pass_on(self) -> None:
            accept = {"Accept": self.headers.get("Accept", "*/*")}
            try:
                request = urllib.request.Request(pacs_url + self.path, headers=accept)
                with urllib.request.urlopen(request, timeout=60) as answer:
                    kind = answer.headers.get("Content-Type", "")
                    self._answer(answer.status, answer.read(), kind)
            except urllib.error.HTTPError as error:
                self._answer(error.code, error.read(), "text/plain")

        def _answer(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def look(address: str, picture: Path) -> str:
    """Open an address, wait until a segmentation is drawn, and save what the viewport shows."""
    command = ["node", str(_SCRIPT), shutil.which("chromium") or "", address, str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def assert_in_place(picture: Path, labels: NDArray[np.uint8]) -> None:
    """The CT is bright where the labels (k, j, i) of `angled` are, the lesion of another colour."""
    seen = np.asarray(Image.open(picture).convert("RGB")).astype(int)
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
