"""One graph in three engines: ONNX Runtime, OpenVINO and onnx's reference evaluator."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from lits_export.lowering.trace import trace
from lits_export.parity.engines import ENGINES, Engine, engine_version, open_engine
from lits_runtime import ModelError, ParityError, ProviderError
from lits_runtime.model.checked_file import check
from lits_runtime.model.metadata import METADATA_KEY, ModelMetadata
from lits_runtime.phantom.ct import make_phantom
from lits_runtime.volumes.scan import Scan
from lits_train.network.slab_segmenter import SlabSegmenter
from lits_train.settings.recipe import DEFAULT
from support.networks.tiny_models import TINY_METADATA, tiny_model

SIZES = [(512, 511), (97, 131), (160, 160), (37, 53), (33, 1), (1, 1)]
SMALL = 37 * 53
"""Pixels: the reference evaluator resizes one by one, in Python."""
DIFFERENCE = 1e-5
RECIPE = replace(DEFAULT, size=64, window_hu=None)
"""With the range of each slice instead of a window: more of the graph is computed from the slab."""


class Blurred(nn.Module):
    """Stands for the network: logits at half the size, from all three channels."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.head = nn.Conv2d(3, classes, kernel_size=3, stride=2, padding=1)
        with torch.no_grad():
            self.head.weight.abs_().mul_(3)
            assert self.head.bias is not None
            self.head.bias.fill_(-4)

    def forward(self, scaled: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(scaled)
        return logits


@pytest.fixture(scope="module")
def network() -> SlabSegmenter:
    return SlabSegmenter(RECIPE, Blurred(len(RECIPE.classes))).eval()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model(network: SlabSegmenter) -> bytes:
    model = trace(RECIPE, network.network).model()
    facts = TINY_METADATA | {
        "classes": RECIPE.classes,
        "label_values": [2] if len(RECIPE.classes) == 1 else [1, 2],
        "thresholds": RECIPE.thresholds,
        "context_slices": RECIPE.context_slices,
    }
    metadata = ModelMetadata(**facts).to_json()  # type: ignore[arg-type]
    onnx.helper.set_model_props(model, {METADATA_KEY: metadata})
    return bytes(model.SerializeToString())


def slab(height: int, width: int) -> NDArray[np.float32]:
    """The middle of a phantom, in steps of one voxel."""
    phantom = make_phantom(3, matrix=512, slices=4, lesions=3)
    hu = Scan.open((phantom.volume_hu, phantom.affine)).load().read_slab(1, 2)
    top, left = 256 - height // 2, 200 - min(width // 2, 200)
    part = hu[:, top : top + height, left : left + width]
    return np.ascontiguousarray(part.repeat(1 + 2 * RECIPE.context_slices, 0), np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["cpu", "openvino", "reference"])
def test_every_engine_computes_what_torch_computes(
    engine: str, network: SlabSegmenter, model: bytes
) -> None:
    """Down and up, odd sizes and single pixels; labels differ at most where a threshold is near."""
    seen = set[int]()
    with open_engine(engine, model) as opened:
        for height, width in SIZES:
            if engine == "reference" and height * width > SMALL:
                continue
            slab_hu = slab(height, width)
            labels, probability = opened.segment(slab_hu)
            with torch.inference_mode():
                labels_gt, probability_gt = (o.numpy() for o in network(torch.from_numpy(slab_hu)))
            assert labels.dtype == np.uint8 and labels.shape == (1, height, width)
            np.testing.assert_allclose(probability, probability_gt, rtol=0, atol=DIFFERENCE)
            near = np.abs(probability_gt - 0.5).min(axis=1) <= DIFFERENCE
            assert (labels == labels_gt)[~near].all()
            seen |= set(np.unique(labels).tolist())
    assert len(seen) > 1, "labels of one value prove nothing"


@pytest.mark.slow
def test_the_graph_has_no_antialiased_resize_and_passes_the_runtime_s_check(model: bytes) -> None:
    graph = onnx.load_from_string(model).graph
    resizes = [node for node in graph.node if node.op_type == "Resize"]
    assert len(resizes) == 1, "of the logits"
    assert {a.name: a.i for a in resizes[0].attribute}.get("antialias", 0) == 0
    assert sum(node.op_type == "MatMul" for node in graph.node) >= 2
    check(model)


@pytest.mark.parametrize("name", ["cpu", "openvino", "reference"])
def test_an_engine_gives_both_outputs_and_says_its_version(name: str) -> None:
    slab_hu = np.array([[[-1000, 60], [120, 49]]], np.float32)
    with open_engine(name, tiny_model()) as engine:
        labels, probability = engine.segment(slab_hu)
    assert labels.tolist() == [[[0, 1], [2, 0]]]
    assert probability.shape == (1, 2, 2, 2)
    assert engine_version(name).split()[0] in ("onnxruntime", "onnxruntime-gpu", "openvino", "onnx")


def test_engines_that_are_missing_or_fail_say_which() -> None:
    with pytest.raises(ProviderError, match="tensorrt is not available"):
        open_engine("tensorrt", tiny_model())
    with pytest.raises((ParityError, ModelError)):
        open_engine("openvino", b"nonsense")

    def fails(slab_hu: object) -> dict[str, object]:
        raise RuntimeError("no room")

    with pytest.raises(ParityError, match="openvino failed on a slab of 1 x 2 x 3: no room"):
        Engine("openvino", fails, lambda: None).segment(np.zeros((1, 2, 3), np.float32))
    assert set(ENGINES) == {"cpu", "cuda", "tensorrt", "openvino", "reference"}


@pytest.mark.slow
def test_openvino_tells_its_makers_nothing(tmp_path: Path) -> None:
    """Where it may: in a process without CI in its environment, and with an empty home folder."""
    program = """
from lits_export.parity.engines import load_openvino
import sys
assert load_openvino() is None
assert "openvino" in sys.modules and not sys.modules["openvino_telemetry"]
"""
    environment = {k: v for k, v in os.environ.items() if k != "CI"} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
