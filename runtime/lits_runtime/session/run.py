"""One slab through a session of ONNX Runtime."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import ModelError, OutOfMemoryError
from lits_runtime.session.providers import SILENT, load_onnxruntime, onnxruntime_reason

_NO_MEMORY = ("Failed to allocate memory", "bad_alloc", "out of memory", "OUT_OF_MEMORY")
"""How ONNX Runtime and CUDA say that memory ran out."""


def run(session: Any, outputs: list[str], slab_hu: NDArray[np.float32]) -> list[Any]:
    """Run a session, and return some of its outputs.

    Raises:
        ModelError: ONNX Runtime failed; the message has its reason.
        OutOfMemoryError: there was not enough memory for the activations.
    """
    options = load_onnxruntime().RunOptions()
    options.log_severity_level = SILENT
    try:
        results: list[Any] = session.run(outputs, {"slab": slab_hu}, options)
    except Exception as error:  # onnxruntime's own classes share no base but Exception
        shape = " x ".join(map(str, slab_hu.shape))
        reason = onnxruntime_reason(error)
        if isinstance(error, MemoryError) or any(word in str(error) for word in _NO_MEMORY):
            raise OutOfMemoryError(
                f"out of memory for a slab of {shape}: {reason}; use a smaller batch size or "
                "fewer threads"
            ) from error
        raise ModelError(f"the model failed on a slab of {shape}: {reason}") from error
    return results
