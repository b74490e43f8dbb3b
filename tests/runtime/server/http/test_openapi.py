"""What OpenAPI says is what the server does, by requests that schemathesis makes from it.

`LITS_SERVE_CASES` sets the number of requests for each route and phase, 2 by default.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from support.services.served import Server

CASES = os.environ.get("LITS_SERVE_CASES", "2")
TOKEN = "correct-horse-battery"
ALL_BUT = "positive_data_acceptance,use_after_free"
"""Random requests are often refused for what OpenAPI cannot say; a job that was deleted before it
was done is shown as cancelled."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "token").write_text(TOKEN)
    access = ("--token-file", folder / "token", "--max-jobs", 100_000)
    with Server(folder / "state", "-m", tiny_model_path, *access) as server:
        yield server


@pytest.mark.slow
def test_the_server_does_what_its_schema_says(served: Server, tmp_path: Path) -> None:
    program = "from schemathesis.cli import schemathesis; schemathesis()"
    done = subprocess.run(
        [
            *(sys.executable, "-c", program, "run", f"{served.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {TOKEN}", "--max-examples", CASES),
            *("--checks", "all", "--exclude-checks", ALL_BUT, "--seed", "1", "--no-color"),
            *(
                "--generation-database",
                "none",
                "--suppress-health-check",
                "all",
                "--request-timeout",
                "60",
            ),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert found is not None and found[1] == found[2] and int(found[1]) > 100, done.stdout
    assert "Traceback" not in served.log.read_text()
    assert served.http.get(f"{served.url}/healthz").status_code == 200


def test_every_route_is_described(served: Server) -> None:
    described = requests.get(f"{served.url}/openapi.json", timeout=10).json()
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            assert route.get("description"), (path, method)
            guarded = path.startswith(("/api", "/v2", "/metrics", "/local"))
            assert ("security" in route) == guarded, path
            assert ("401" in route["responses"]) == guarded, path
