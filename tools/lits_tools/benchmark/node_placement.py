"""The provider that each node of a model runs on, read from ONNX Runtime's profile."""

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lits_runtime.session.providers import open_session

SHAPE_BYTES = 256
"""Shapes are computed on the CPU by design; a node that writes more than this handles data."""


@dataclass(frozen=True)
class NodeRun:
    """One node of the graph, as ONNX Runtime ran it."""

    operator: str
    provider: str
    """A key of `lits_runtime.session.providers.PROVIDERS`."""
    output_bytes: int


def placement(model: bytes, provider: str, slab_hu: NDArray[np.float32]) -> list[NodeRun]:
    """Run a model once and read from the profile where its nodes ran.

    Args:
        model: content of the file.
        provider: "cpu", "cuda" or "tensorrt".
        slab_hu: float32 (n + 2 * context_slices, height, width).

    Raises:
        ProviderError: the provider did not load.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(model, provider, profile=Path(folder) / "profile")
        session.run(None, {"slab": slab_hu})
        events = json.loads(Path(session.end_profiling()).read_text())
    return [
        NodeRun(
            event["args"]["op_name"],
            event["args"]["provider"].removesuffix("ExecutionProvider").lower(),
            int(event["args"]["output_size"]),
        )
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    ]


def count(nodes: Sequence[NodeRun]) -> dict[str, Counter[str]]:
    """The number of nodes of each operator, by provider."""
    found: dict[str, Counter[str]] = {}
    for node in nodes:
        found.setdefault(node.provider, Counter())[node.operator] += 1
    return found


def fallen_back(nodes: Sequence[NodeRun]) -> list[NodeRun]:
    """Nodes that handled data on the CPU although another provider was requested."""
    return [node for node in nodes if node.provider == "cpu" and node.output_bytes > SHAPE_BYTES]
