"""A real lits-serve with its DICOM node on loopback, and senders of the field."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from support.dicom.ct import save, set_all, slices_of
from support.services.orthanc import STORESCU
from support.services.served import PATIENCE_S, Server

AE_TITLE, SENDER = "LITS", "SENDER"
AFFINE = np.array([[-2.0, 0, 0, 128], [0, -2, 0, 128], [0, 0, 4, -30], [0, 0, 0, 1]])


class NodeServer(Server):
    """A server with a node that takes series from `SENDER`, complete after a second."""

    def __init__(self, state: Path, model: Path, *arguments: object, wait: str = "1s") -> None:
        super().__init__(
            *(state, "-m", model, "--threads", 1, "--dicom-port", 0, "--calling-ae", SENDER),
            *("--complete-after", wait, *arguments),
        )
        self.dicom_port = 0

    def start(self) -> None:
        """Start it, and learn its port."""
        super().start()
        self.dicom_port = int(re.findall(r"DICOM node \S+ on \S+:(\d+)", self.log.read_text())[-1])

    def get(self, path: str) -> Any:
        """GET what the API tells."""
        return self.http.get(f"{self.url}/api/{path}").json()

    def series(self) -> list[dict[str, Any]]:
        """The series that came in, newest first."""
        found: list[dict[str, Any]] = self.get("series")["series"]
        return found

    def deliveries(self) -> list[dict[str, Any]]:
        """The results on their way."""
        found: list[dict[str, Any]] = self.get("outbox")["deliveries"]
        return found

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until something is true; what it is."""
        end = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            told = (self.series(), self.deliveries(), self.log.read_text())
            assert time.monotonic() < end, told
            time.sleep(0.05)
        return found

    def settled(self, count: int = 1) -> dict[str, Any]:
        """Wait until so many series are jobs or skipped; the newest."""

        def settled() -> list[dict[str, Any]]:
            return [one for one in self.series() if one["state"] != "receiving"]

        found: dict[str, Any] = self.until(lambda: len(settled()) >= count and settled())[0]
        return found

    def unfinished_are_removed(self) -> bool:
        """Whether nothing is left of images that came in part, once they are old."""
        for file in (self.state / "incoming").iterdir():
            with suppress(FileNotFoundError):
                os.utime(file, (0, 0))
        return not list((self.state / "incoming").iterdir())

    def wait_until_known(self, job_id: str, state: str) -> dict[str, Any]:
        """Wait until a series is a job, and that is in a state."""
        self.until(lambda: any(one["id"] == job_id for one in self.get("jobs")["jobs"]))
        return self.wait_for(job_id, state)

    def sent(self, folder: Path, *options: object) -> "subprocess.CompletedProcess[str]":
        """Send a folder with dcmtk's storescu."""
        return storescu(self.dicom_port, folder, *options)


def storescu(
    port: int, folder: Path, *options: object, sender: str = SENDER, called: str = AE_TITLE
) -> "subprocess.CompletedProcess[str]":
    """Send a folder by C-STORE."""
    return subprocess.run(
        command(port, folder, *options, sender=sender, called=called),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def command(
    port: int, folder: Path, *options: object, sender: str = SENDER, called: str = AE_TITLE
) -> list[str]:
    """What sends the files of a folder in the order of their names."""
    files = map(str, sorted(folder.iterdir()))
    titles = ["-aet", sender, "-aec", called]
    return [STORESCU, "-R", *titles, *map(str, options), "127.0.0.1", str(port), *files]


def angled() -> NDArray[np.uint8]:
    """Labels (k, j, i): an L that moves down from slice to slice, a lesion near its upper end."""
    labels = np.zeros((16, 128, 128), np.uint8)
    for k in range(3, 13):
        top = 20 + 4 * k
        labels[k, top : top + 40, 30:44] = 1
        labels[k, top + 26 : top + 40, 30:90] = 1
        labels[k, top + 2 : top + 10, 32:40] = 2
    return labels


def series(folder: Path, name: str = "a", labels: NDArray[np.uint8] | None = None) -> list[Path]:
    """A series of which the tiny model makes the labels again."""
    return save(datasets(name, labels), folder)


def datasets(name: str = "a", labels: NDArray[np.uint8] | None = None) -> list[Dataset]:
    """Its images."""
    labels = angled() if labels is None else labels
    hu = np.array([-800, 70, 250])[labels].transpose(2, 1, 0)
    slices = slices_of(hu, AFFINE, name)
    set_all(slices, WindowCenter=-100, WindowWidth=300, SeriesDescription="CT venous")
    return slices


@contextmanager
def storescp(port: int, folder: Path, *options: object) -> Iterator[Path]:
    """dcmtk's storescp, a peer with the AE title PACS; the folder that it writes to."""
    folder.mkdir(exist_ok=True)
    command = ["/usr/bin/storescp", "-aet", "PACS", "-od", str(folder), *map(str, options)]
    process = subprocess.Popen([*command, str(port)])
    try:
        end = time.monotonic() + PATIENCE_S
        while not _listens(port):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        yield folder
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    """Whether a port is taken, without a connection that its program would log."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False
