"""On what the page /local runs the model: WebGPU after checks of the browser, threads if it can."""

import json
import subprocess

import pytest

from lits_runtime.server.static_site import STATIC
from support.paths import ROOT
from support.services import node_runtime


@pytest.mark.slow
def test_webgpu_and_threads_are_used_where_they_can_be() -> None:
    if reason := node_runtime.missing():
        pytest.skip(reason)
    script = str(ROOT / "tests/node/engine.mjs")
    command = ["node", "--experimental-detect-module", "--no-warnings", script, str(STATIC)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert {name for name, reason in seen["obstacles"].items() if reason is None} == {
        "good",
        "wide",
    }
    reasons = [reason for reason in seen["obstacles"].values() if reason]
    assert len(set(reasons)) == len(reasons) == 7
    assert seen["threads"] == [4, 1, 8, 1]
