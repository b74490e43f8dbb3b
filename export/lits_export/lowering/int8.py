"""The network in int8: static, per channel, calibrated; sensitive layers stay in float."""

import contextlib
import io
import logging
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from lits_export.lowering.float16 import STEM
from lits_runtime.errors import ParityError
from lits_runtime.session.providers import open_session
from lits_runtime.session.run import run
from lits_runtime.system.processors import usable_processors

logger = logging.getLogger(__name__)

Slab = NDArray[np.float32]

METHODS: dict[str, tuple[CalibrationMethod, dict[str, float]]] = {
    "min-max": (CalibrationMethod.MinMax, {}),
    "percentile 99.999": (CalibrationMethod.Percentile, {"percentile": 99.999}),
}
"""How the range of a tensor is found; the method that changes the calibration slices least is used.

Lower percentiles, entropy, distribution and moving averages were never best on trained networks."""

_silenced = threading.Lock()
_OPERATORS = ["Conv", "Relu"]
"""A Relu is folded into its Conv, whose output then needs no range for negative values."""


def quantisable(model: onnx.ModelProto) -> dict[str, str]:
    """The convolutions to quantise: node name to module.

    The stem, the last stage's convolution and the head stay in float: there rounding changes most
    and int8 saves least. Those of squeeze-and-excite see a single pixel: int8 would save nothing.
    """
    modules = {
        node.name: node.input[1].removeprefix("network.").removesuffix(".weight")
        for node in model.graph.node
        if node.op_type == "Conv"
    }
    stages = [module for module in modules.values() if module.startswith("decoder.")]
    if not stages:
        raise ParityError("int8 needs the layers of a decoder: choose another --precision")
    last = ".".join(stages[-1].split(".")[:3])  # decoder.N.conv
    return {
        name: module
        for name, module in modules.items()
        if not (module.startswith(("head", STEM, last)) or ".se." in module)
    }


class Calibrated:
    """A float32 model with the ranges of its tensors, to make int8 models from."""

    def __init__(self, model: onnx.ModelProto, slabs: Sequence[Slab]) -> None:
        """Calibrate.

        Args:
            model: the traced network in float32.
            slabs: float32 (1 + 2 * context_slices, height, width) each, one slice of a scan.
        """
        self.model, self.slabs = model, slabs
        self.modules = quantisable(model)
        self._probability = self._run(model)
        found = {name: _ranges(model, slabs, *how) for name, how in METHODS.items()}
        effects = {}
        for name, ranges in found.items():
            self.ranges = ranges
            effects[name] = self.effect(self.quantised([]))
        self.method = min(effects, key=lambda name: effects[name])
        self.ranges = found[self.method]
        summary = ", ".join(f"{name} {effect:.2e}" for name, effect in effects.items())
        logger.info("calibrated on %d slices; mean squared change: %s", len(slabs), summary)

    def quantised(self, keep_float: Iterable[str]) -> onnx.ModelProto:
        """The model in int8 except for the named nodes, by QuantizeLinear and DequantizeLinear.

        ONNX Runtime runs a convolution between a pair of them in integers.
        """
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        lowered = self.modules.keys() - set(keep_float)
        kept = {node.name for node in copy.graph.node if node.op_type == "Conv"} - lowered
        quantizer = QDQQuantizer(
            copy,
            True,  # per channel
            False,  # all 8 bits: only processors without VNNI, slow anyway, may saturate
            QuantType.QInt8,
            QuantType.QUInt8,
            self.ranges,
            [],
            sorted(kept),
            _OPERATORS,
            {},
        )
        with _quiet():
            quantizer.quantize_model()
            quantizer.model.topological_sort()
        model: onnx.ModelProto = quantizer.model.model
        return model

    def effect(self, model: onnx.ModelProto) -> float:
        """Squared change of the slabs' probabilities per voxel of each class, mean over classes."""
        change = (self._run(model) - self._probability) ** 2
        mask = self._probability >= 0.5
        axes = (0, 2, 3)
        return float((change.sum(axes) / np.maximum(mask.sum(axes), 1)).mean())

    def ranked(self) -> list[str]:
        """Nodes by how much each changes the slabs alone in int8, the worst first."""
        names = list(self.modules)
        with ThreadPoolExecutor(usable_processors()) as pool:
            found = pool.map(lambda name: self.effect(self.quantised({*names} - {name})), names)
            effects = dict(zip(names, found, strict=True))
        return sorted(names, key=lambda name: -effects[name])

    def _run(self, model: onnx.ModelProto) -> NDArray[np.float32]:
        # One thread: slices are too small to be shared out, and models run side by side.
        session = open_session(model.SerializeToString(), "cpu", threads=1)
        step = max(1, len(self.slabs) // 12)
        values = [run(session, ["probability"], slab)[0] for slab in self.slabs[::step]]
        # Scans may differ in size: as rows of pixels they can be joined.
        return np.concatenate([value.reshape(*value.shape[:2], 1, -1) for value in values], axis=3)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """One slab after another."""

    def __init__(self, slabs: Iterable[Slab]) -> None:
        self._slabs = iter(slabs)

    def get_next(self) -> dict[str, Slab] | None:
        slab = next(self._slabs, None)
        return None if slab is None else {"slab": slab}


def _ranges(
    model: onnx.ModelProto,
    slabs: Sequence[Slab],
    method: CalibrationMethod,
    options: dict[str, Any],
) -> TensorsData:
    """Ranges of all inputs and outputs of the operators."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        plain, augmented = Path(folder) / "plain.onnx", Path(folder) / "augmented.onnx"
        onnx.save(model, plain)
        calibrator = create_calibrator(
            plain, _OPERATORS, str(augmented), method, extra_options=options
        )
        for slab in slabs:  # one by one: a histogram keeps every tensor of a call in memory
            calibrator.collect_data(_Reader([slab]))
        return calibrator.compute_data()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the library prints, and logs to the root logger, for one thread at a time."""
    root = logging.getLogger()
    with _silenced:
        level = root.level
        root.setLevel(logging.ERROR)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        finally:
            root.setLevel(level)
