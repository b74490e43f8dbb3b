"""On which provider each node of a model ran, read from ONNX Runtime's own profile."""

import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lits_runtime.providers import open_session, session_provider


def placement(model: bytes, provider: str, slab_hu: NDArray[np.float32]) -> dict[str, Counter[str]]:
    """Run a model once and count its nodes: by provider, how many of each operator.

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
    found: dict[str, Counter[str]] = {session_provider(session): Counter()}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            ran_on = event["args"]["provider"].removesuffix("ExecutionProvider").lower()
            found.setdefault(ran_on, Counter())[event["args"]["op_name"]] += 1
    return found


def fallen_back(found: dict[str, Counter[str]]) -> Counter[str]:
    """Operators that ran on the CPU although another provider was asked for.

    Shapes are computed on the CPU by design, in a handful of numbers: what handles them is left
    out, and so are the copies that ONNX Runtime itself counts on the provider's side.
    """
    if set(found) == {"cpu"}:
        return Counter()
    shapes = {"Shape", "Gather", "Concat", "Unsqueeze", "Squeeze", "Cast", "Slice", "Add", "Sub"}
    on_cpu = found.get("cpu", Counter())
    return Counter({name: count for name, count in on_cpu.items() if name not in shapes})
