"""The model file in another language; test_export.py does the same for each precision."""

import json
from pathlib import Path

import numpy as np
import pytest

from lits_runtime.model.bundled import bundled_model
from lits_runtime.volumes.scan import Scan
from support.services.node_runtime import FOLDER, compare_with_node


@pytest.mark.slow
def test_the_bundled_model_gives_the_same_labels(
    real_case: tuple[Path, Path], tmp_path: Path
) -> None:
    scan = Scan.open(real_case[0])
    middle = scan.geometry.canonical_shape[0] // 2
    slab_hu = scan.load().read_slab(middle, middle + 3)
    compare_with_node(bundled_model(), np.ascontiguousarray(slab_hu, np.float32), tmp_path)


def test_the_lock_file_names_no_host() -> None:
    lock = json.loads((FOLDER / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert {"node_modules/onnxruntime-node", "node_modules/onnxruntime-web"} <= packages.keys()
    assert not [name for name, entry in packages.items() if "resolved" in entry]
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
