"""From the trained network to candidates for the file, and on to more careful ones."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from lits_export.lowering.emulation import STEM, Mixture, sensitive_modules
from lits_export.lowering.fuse import for_inference
from lits_export.lowering.int8 import Calibrated
from lits_export.lowering.stored_weights import store_in_float16
from lits_export.lowering.trace import check, tidy, trace
from lits_export.parity.compare import Tolerance, WorstSlice
from lits_train.network.slab_segmenter import SlabSegmenter

logger = logging.getLogger(__name__)


class Emulation:
    """The file as a GPU computes it: ONNX Runtime's CPU skips the rounding between float16 nodes.

    What overflows float16 would go unseen there, in a file that fails on every GPU.
    """

    provider = "emulated float16"

    def __init__(self, segmenter: SlabSegmenter) -> None:
        self.segmenter = segmenter.eval()

    def labels(self, slab_hu: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(n + 2 * context_slices, height, width) to (n, height, width)."""
        with torch.inference_mode():
            labels: NDArray[np.uint8] = self.segmenter(torch.from_numpy(slab_hu))[0].numpy()
        return labels

    def probability(self, slab_hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n + 2 * context_slices, height, width) to (n, classes, height, width)."""
        with torch.inference_mode():
            output: NDArray[np.float32] = self.segmenter(torch.from_numpy(slab_hu))[1].numpy()
        return output


@dataclass(frozen=True)
class Candidate:
    """A model that may pass."""

    model: onnx.ModelProto
    facts: dict[str, Any] = field(default_factory=dict)
    """How it was lowered, for the report."""
    emulation: Emulation | None = None
    """To be compared as well."""


class Lowering(Protocol):
    """A precision's way from one candidate to the next."""

    def candidate(self) -> Candidate:
        """The model as it now stands."""
        ...

    def refine(self, worst: Sequence[WorstSlice]) -> bool:
        """Lower less, for the slices that differ most; False if nothing is left to gain."""
        ...


class Float32:
    """The network as it is."""

    def __init__(self, reference: SlabSegmenter) -> None:
        self.reference = reference

    def candidate(self) -> Candidate:
        """See `Lowering`."""
        return Candidate(trace(self.reference.recipe, for_inference(self.reference.network)))

    def refine(self, worst: Sequence[WorstSlice]) -> bool:
        """See `Lowering`."""
        return False


class Float16:
    """Float16, but for the modules that overflow it or matter too much."""

    def __init__(self, reference: SlabSegmenter, tolerance: Tolerance) -> None:
        self.reference, self.tolerance = reference, tolerance
        self.keep = [STEM]

    def candidate(self) -> Candidate:
        """See `Lowering`."""
        recipe, network = self.reference.recipe, self.reference.network
        mixture = Mixture(network)
        model = trace(recipe, mixture.keeping(self.keep))
        whole = mixture.float32_weights(self.keep)
        store_in_float16(model, lambda name: not _belongs(name.replace(".lowered.", "."), whole))
        check(model)
        emulated = Mixture(network, emulated=True).keeping(self.keep)
        facts = {"float32_modules": list(self.keep), "float32_weights": whole}
        return Candidate(model, facts, Emulation(SlabSegmenter(recipe, emulated)))

    def refine(self, worst: Sequence[WorstSlice]) -> bool:
        """See `Lowering`."""
        slabs = [slice_.slab_hu for slice_ in worst]
        allowed = 1.0 if self.tolerance.probability is None else self.tolerance.probability
        more = sensitive_modules(self.reference, self.keep, slabs, allowed)
        self.keep += more
        return bool(more)


class Int8:
    """Int8 convolutions; the rest float32, its weights stored in float16."""

    def __init__(self, reference: SlabSegmenter, slabs: Sequence[NDArray[np.float32]]) -> None:
        """Calibrate on slabs of one slice, float32 (1 + 2 * context_slices, height, width)."""
        self.context_slices = reference.recipe.context_slices
        network = for_inference(reference.network)
        self.calibrated = Calibrated(trace(reference.recipe, network), slabs)
        self.keep: list[str] = []
        self.ranked: list[str] = []

    def candidate(self) -> Candidate:
        """See `Lowering`."""
        model = self.calibrated.quantised(self.keep)
        tidy(model, self.context_slices)  # of the quantiser's notes
        store_in_float16(model, lambda name: True)
        check(model)
        modules = self.calibrated.modules
        facts = {
            "calibration": {
                "method": self.calibrated.method,
                "slices": len(self.calibrated.slabs),
            },
            "int8_modules": [modules[name] for name in modules if name not in self.keep],
            "float_modules_by_effect": [modules[name] for name in self.keep],
        }
        return Candidate(model, facts)

    def refine(self, worst: Sequence[WorstSlice]) -> bool:
        """See `Lowering`: twice as many modules in float, at most half of all."""
        self.ranked = self.ranked or self.calibrated.ranked()
        count = max(2, 2 * len(self.keep))
        if count > len(self.ranked) // 2:
            return False
        self.keep = self.ranked[:count]
        names = (self.calibrated.modules[name] for name in self.keep)
        logger.info("left in float: %s", ", ".join(names))
        return True


def _belongs(weight: str, modules: Sequence[str]) -> bool:
    return any(weight.startswith(f"network.{module}.") for module in modules)
