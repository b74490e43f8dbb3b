"""DICOM as the page /local reads it: every volume is the true one, or there is a reason."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lits_runtime.server.static_site import STATIC
from lits_runtime.volumes.geometry import Geometry
from support.dicom import ct as dicom_ct
from support.dicom.faults import FAULTS, PLAIN, Truth
from support.dicom.syntaxes import WRITERS
from support.paths import ROOT
from support.services import node_runtime

LEFT_TO_THE_SERVER = {
    "one slice missing, to be filled in": "missing",
    "two phases that only times tell apart, each slice with its own": "at one place",
    "two kernels and two phases in one series": "at one place",
    "gantry tilt": "tilted",
    "enhanced multi-frame CT": "multi-frame",
    "deflated": "Deflated",
}
"""What the runtime reads and this page refuses, with words of its reason."""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def truths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Truth, Any, Path]]:
    """By fault or transfer syntax: what is true, what the page makes of it, and where HU are."""
    if reason := node_runtime.missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("series")
    truths: dict[str, Truth] = {}
    for name, make in FAULTS.items():
        truths[name] = make(folder / f"{len(truths)}")
    for name, write in WRITERS.items():
        if name != "HTJ2K":  # dcm2niix does not decode it
            place = folder / f"{len(truths)}"
            place.mkdir()
            write(dicom_ct.slices_of(dicom_ct.body_hu()), place)
            truths[name] = PLAIN
    (folder / "plan.json").write_text(json.dumps([str(number) for number in range(len(truths))]))
    script = str(ROOT / "tests/node/series.mjs")
    command = ["node", "--experimental-detect-module", "--no-warnings", script]
    done = subprocess.run(
        [*command, str(STATIC), str(folder)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    return {
        name: (truth, seen[str(number)], folder / f"{number}")
        for number, (name, truth) in enumerate(truths.items())
    }


def is_true(hu: NDArray[np.float32], affine: Any, truth: Truth) -> bool:
    """Whether it is one of the true volumes, HU for HU."""
    for stored, expected in truth.volumes:
        geometry = Geometry(stored.shape, expected)
        canonical = geometry.to_canonical(stored)
        if canonical.shape == hu.shape and (canonical == hu).all():
            return np.allclose(geometry.canonical_affine, affine, atol=0.02)
    return False


def test_every_volume_is_a_true_one(truths: dict[str, tuple[Truth, Any, Path]]) -> None:
    for name, (truth, seen, place) in truths.items():
        if "error" in seen:
            assert not truth.volumes or LEFT_TO_THE_SERVER[name] in seen["error"], (name, seen)
            continue
        assert len(seen["shapes"]) == len(truth.volumes) > 0, (name, seen)
        for number, volume in enumerate(seen["shapes"]):
            hu = np.fromfile(f"{place}.{number}.hu", "<f4").reshape(volume["shape"])
            assert is_true(hu, volume["affine"], truth), name


def test_what_is_left_to_the_server_is_listed(
    truths: dict[str, tuple[Truth, Any, Path]],
) -> None:
    refused = {
        name for name, (truth, seen, _) in truths.items() if truth.volumes and "error" in seen
    }
    assert refused == set(LEFT_TO_THE_SERVER)


def test_reports_beside_a_series_are_no_damage(
    truths: dict[str, tuple[Truth, Any, Path]],
) -> None:
    _, seen, _ = truths["other objects lying about, nested"]
    assert not [note for note in seen["notes"] if "damaged" in note]
