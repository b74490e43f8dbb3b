"""From a network's trace to a candidate for the file, and on to more careful ones."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import onnx
from numpy.typing import NDArray

from lits_export.lowering.emulation import Emulation, Mixture, sensitive_modules
from lits_export.lowering.float16 import STEM, in_float16
from lits_export.lowering.int8 import Calibrated
from lits_export.lowering.stored_weights import store_in_float16
from lits_export.lowering.trace import Traced, check, tidy
from lits_export.parity.compare import WorstSlice
from lits_export.parity.tolerance import Tolerance
from lits_train.network.slab_segmenter import SlabSegmenter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A model that may pass."""

    model: onnx.ModelProto
    facts: dict[str, Any] = field(default_factory=dict)
    """How it was lowered, for the report."""
    emulation: Emulation | None = None
    """To be compared as well."""


class Lowering(Protocol):
    """How a precision gets from one candidate to the next."""

    def candidate(self) -> Candidate:
        """The model as it now stands."""
        ...

    def refine(self, worst: Sequence[WorstSlice]) -> bool:
        """Lower less, for the slices that differ most; False if nothing is left to gain."""
        ...


class Float32:
    """The network as it is."""

    def __init__(self, traced: Traced) -> None:
        self.traced = traced

    def candidate(self) -> Candidate:
        """See `Lowering`."""
        return Candidate(self.traced.model())

    def refine(self, worst: Sequence[WorstSlice]) -> bool:
        """See `Lowering`."""
        return False


class Float16Weights:
    """Weights stored in float16, except for the modules that are too sensitive; float32 arithmetic.

    Args:
        traced: the network's graph.
        reference: the network.
        tolerance: how much the probabilities may change.
    """

    weights_only = True

    def __init__(self, traced: Traced, reference: SlabSegmenter, tolerance: Tolerance) -> None:
        self.traced, self.reference, self.tolerance = traced, reference, tolerance
        self.mixture = Mixture(reference.network, weights_only=self.weights_only)
        self.keep = [STEM]

    def candidate(self) -> Candidate:
        """See `Lowering`."""
        whole = self.mixture.float32_weights(self.keep)
        model = self.traced.model()
        store_in_float16(model, except_for=whole)
        check(model)
        return Candidate(model, {"float32_weights": whole})

    def refine(self, worst: Sequence[WorstSlice]) -> bool:
        """See `Lowering`."""
        slabs = [slice_.slab_hu for slice_ in worst]
        allowed = 1.0 if self.tolerance.probability is None else self.tolerance.probability
        more = sensitive_modules(self.reference, self.mixture, self.keep, slabs, allowed)
        self.keep += more
        return bool(more)


class Float16(Float16Weights):
    """Float16, except for the modules that overflow it or are too sensitive."""

    weights_only = False

    def candidate(self) -> Candidate:
        """See `Lowering`."""
        whole = self.mixture.float32_weights(self.keep)
        model = in_float16(self.traced, self.mixture.names, self.keep, whole)
        facts = {"float32_modules": list(self.keep), "float32_weights": whole}
        emulated = SlabSegmenter(self.reference.recipe, self.mixture.keeping(self.keep))
        return Candidate(model, facts, Emulation(emulated))


class Int8:
    """Int8 convolutions; the rest float32, its weights stored in float16."""

    def __init__(self, traced: Traced, slabs: Sequence[NDArray[Any]]) -> None:
        """Calibrate on slabs of one slice, float32 (1 + 2 * context_slices, height, width)."""
        self.context_slices = traced.context_slices
        self.calibrated = Calibrated(traced.model(), slabs)
        self.keep: list[str] = []
        self.ranked: list[str] = []

    def candidate(self) -> Candidate:
        """See `Lowering`."""
        model = self.calibrated.quantised(self.keep)
        tidy(model, self.context_slices)  # of the quantiser's notes
        store_in_float16(model)
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
