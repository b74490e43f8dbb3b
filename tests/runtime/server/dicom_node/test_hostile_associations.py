"""Senders that speak DICOM badly: the node goes on, and nothing of theirs is left.

`LITS_MUTATED_ASSOCIATIONS` sets their number, 80 by default.
"""

import os
import random
import re
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from support.dicom.ct import save
from support.hostile.associations import mutated, recorded, say
from support.services.dicom_node import NodeServer, datasets, storescu
from support.services.orthanc import missing

COUNT = int(os.environ.get("LITS_MUTATED_ASSOCIATIONS", "80"))
SENDERS, MOST = 4, 50
OURS = re.compile(
    r"(queue\.sqlite(-wal|-shm)?|lock|audit\.log|jobs/[0-9a-f]{32}/scan/[0-9a-f]{32}\.dcm)"
)


def descriptors(server: NodeServer) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


@pytest.mark.slow
def test_mutated_associations_leave_nothing(tmp_path: Path, tiny_model_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path / "ct"
    save(datasets(labels=np.zeros((2, 32, 32), np.uint8)), folder)
    options = ("--max-associations", MOST)
    with NodeServer(tmp_path / "state", tiny_model_path, *options, wait="60s") as server:
        pdus, before = recorded(server.dicom_port, folder), descriptors(server)

        def speak(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(COUNT // SENDERS):
                say(server.dicom_port, mutated(pdus, chance))

        speakers = [threading.Thread(target=speak, args=(seed,)) for seed in range(SENDERS)]
        for one in speakers:
            one.start()
        for one in speakers:
            one.join()
        address = ("127.0.0.1", server.dicom_port)
        for _ in range(2 * MOST):  # they leave without a word
            socket.create_connection(address).close()
        with socket.create_connection(address):  # it says nothing
            server.until(lambda: storescu(server.dicom_port, folder).returncode == 0)
        server.until(lambda: descriptors(server) <= before + 8)
        server.until(server.unfinished_are_removed)
        files = [str(path.relative_to(server.state)) for path in server.state.rglob("*.*")]
        assert files and not [name for name in files if not OURS.fullmatch(name)]
        assert {path.name for path in tmp_path.iterdir()} == {"ct", "state", "state.log"}
        told = server.log.read_text()
        assert "Traceback" not in told and "Doe" not in told
        assert server.end() == 0
