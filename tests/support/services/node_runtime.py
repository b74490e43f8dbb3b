"""ONNX Runtime under Node.js: the packages of tests/node, installed once, and labels from them."""

import json
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray

from lits_export.parity.tolerance import TOLERANCES
from lits_runtime import Segmenter
from lits_tools.scores.overlap import overlap
from support.paths import ROOT

LIBRARIES = ("onnxruntime-node", "onnxruntime-web")
"""Native code, and WebAssembly as in a browser."""
ROUNDING = 1e-6
"""WebAssembly adds up in another order: voxels so near to a threshold may fall on either side."""
FOLDER = ROOT / "tests/node"


@cache
def missing() -> str | None:
    """Why there is no Node.js with our packages; installs them once, in one process at a time."""
    if not shutil.which("node") or not shutil.which("npm"):
        return "node and npm are not installed"
    with FileLock(Path(tempfile.gettempdir(), "lits-node-modules.lock")):
        return _install()


def _install() -> str | None:
    lock, stamp = FOLDER / "package-lock.json", FOLDER / "node_modules/.installed"
    if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
        return None
    # No scripts: onnxruntime-node's would fetch CUDA libraries, the CPU's are in the package.
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
    if done.returncode:
        return f"npm ci failed: {done.stderr[-500:]}"
    shutil.copyfile(lock, stamp)
    return None


def compare_with_node(model: Path, slab_hu: NDArray[np.float32], folder: Path) -> None:
    """Assert that Node.js gives the labels that Python gives, voxel for voxel.

    WebAssembly has quantised kernels of its own, which round differently: there int8 has to reach
    the Dice that its export has to reach. Skips where Node.js is missing.
    """
    if reason := missing():
        pytest.skip(reason)
    segmenter = Segmenter.open(model, provider="cpu")
    precision, labels = segmenter.metadata.precision, segmenter.labels(slab_hu)
    assert len(np.unique(labels)) > 1, "labels of one value prove nothing"
    thresholds = np.array(segmenter.metadata.thresholds, np.float32).reshape(1, -1, 1, 1)
    distance = np.abs(segmenter.probability(slab_hu) - thresholds).min(axis=1)
    for library in LIBRARIES:
        found = node_labels(library, model, slab_hu, folder)
        assert found.shape == labels.shape
        different = found != labels
        in_browser = library == "onnxruntime-web"
        if precision == "int8" and in_browser:
            for value in np.unique(labels):
                dice = overlap(found == value, labels == value).dice
                assert dice >= TOLERANCES[precision].dice, (library, value, dice)
            continue
        allowed = ROUNDING if in_browser else 0.0
        assert (distance[different] < allowed).all(), (library, int(different.sum()))
        assert different.sum() <= 10, library


def node_labels(
    library: str, model: Path, slab_hu: NDArray[np.float32], folder: Path
) -> NDArray[np.uint8]:
    """Labels (n, height, width) of a slab from one of `LIBRARIES`."""
    slab_hu.astype("<f4").tofile(folder / "slab")
    (folder / "shape.json").write_text(json.dumps(slab_hu.shape))
    files = [str(folder / name) for name in ("slab", "shape.json", "labels")]
    command = ["node", str(FOLDER / "segment.mjs"), library, str(model), *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)
    assert output["type"] == "uint8"
    return np.fromfile(folder / "labels", np.uint8).reshape(output["dims"])
