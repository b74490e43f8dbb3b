"""The server is killed while series come in and wait: none is lost, none is a job twice.

`LITS_NODE_KILLS` sets the number of kills, 2 by default.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from support.services.dicom_node import NodeServer, series
from support.services.orthanc import missing

KILLS = int(os.environ.get("LITS_NODE_KILLS", "2"))


@pytest.mark.slow
def test_kills_at_random_moments_lose_no_image_and_repeat_no_job(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    """Each sender repeats what it was not told is kept, as senders do, and nothing else."""
    if reason := missing():
        pytest.skip(reason)
    chance = random.Random(KILLS)
    options = ("--attempts", 50, "--aborted-after", "1s")
    with NodeServer(tmp_path / "state", tiny_model_path, *options) as server:
        for kill in range(KILLS):
            series(tmp_path / f"{kill}", f"killed {kill}")
            assert server.sent(tmp_path / f"{kill}").returncode == 0
            time.sleep(chance.uniform(0, 3))
            server.end(signal.SIGKILL)
            server.start()
        server.until(
            lambda: [one["state"] for one in server.get("jobs")["jobs"]] == ["done"] * KILLS
        )
        found = server.series()
        assert [one["images"] for one in found] == [16] * KILLS
        assert {one["id"] for one in found} == {one["id"] for one in server.get("jobs")["jobs"]}
        server.until(lambda: {one["state"] for one in server.series()} == {"ended"})
        assert server.end() == 0
        done = [line["job"] for line in server.audit() if line.get("state") == "done"]
        assert set(done) == {one["id"] for one in found}
