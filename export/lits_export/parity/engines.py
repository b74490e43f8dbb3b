"""What runs a model file in a comparison: the runtime's providers, OpenVINO, onnx's evaluator."""

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from lits_runtime.errors import ParityError, ProviderError
from lits_runtime.messages import brief
from lits_runtime.segment.segmenter import Segmenter
from lits_runtime.session.providers import PROVIDERS, why_not
from lits_runtime.session.run import run as run_session
from lits_runtime.system.versions import version

logger = logging.getLogger(__name__)

Slab = NDArray[np.float32]
_OUTPUTS = ["labels", "probability"]


class Compared(Protocol):
    """What is compared with the network: an engine, or an emulation of one."""

    provider: str

    def segment(self, slab_hu: Slab) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """(n + 2 * context_slices, height, width) to labels and probability."""
        ...


class Engine:
    """A model file in one engine."""

    def __init__(
        self, provider: str, run: Callable[[Slab], Mapping[str, Any]], close: Callable[[], None]
    ) -> None:
        self.provider, self.run, self.close = provider, run, close

    def segment(self, slab_hu: Slab) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """See `Compared`.

        Raises:
            ParityError: the engine failed.
        """
        try:
            output = self.run(slab_hu)
        except Exception as error:  # each engine has errors of its own
            shape = " x ".join(map(str, slab_hu.shape))
            raise ParityError(
                f"{self.provider} failed on a slab of {shape}: {brief(error)}"
            ) from error
        return np.asarray(output["labels"]), np.asarray(output["probability"])

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_engine(name: str, model: bytes) -> Engine:
    """A model in one of `ENGINES`.

    Raises:
        ProviderError: the engine is not there; the message says what would install it.
        ParityError: it refuses the model.
    """
    if reason := why_missing(name):
        raise ProviderError(f"{name} is not available: {reason}")
    return ENGINES[name](name, model)


def why_missing(name: str) -> str | None:
    """None if the engine is installed, else what is missing and what would install it."""
    if name in PROVIDERS:
        return why_not(name)
    return load_openvino() if name == "openvino" else None


def engine_version(name: str) -> str:
    """The software that a comparison used, such as "onnxruntime 1.24.1"."""
    packages = ["onnx"] if name == "reference" else [name]
    if name in PROVIDERS:
        packages = ["onnxruntime-gpu", "onnxruntime"]
    elif name not in ENGINES:
        packages = ["torch"]
    found = ((package, version(package)) for package in packages)
    return next((f"{package} {number}" for package, number in found if number), "")


def load_openvino() -> str | None:
    """Import OpenVINO without its telemetry; None if it loads, else what would install it.

    `import openvino` alone would tell its makers, and leave a file in the home folder.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino  # noqa: F401
    except Exception as error:  # a damaged package fails with anything
        if isinstance(error, ModuleNotFoundError) and error.name == "openvino":
            return "pip install 'lits-toolkit[openvino]'"
        return f"openvino does not load: {brief(error)}; pip install --force-reinstall openvino"
    return None


def _onnxruntime(name: str, model: bytes) -> Engine:
    segmenter = Segmenter.open(model, provider=name)

    def run(slab_hu: Slab) -> dict[str, Any]:
        with segmenter.engine.in_use() as session:
            return dict(zip(_OUTPUTS, run_session(session, _OUTPUTS, slab_hu), strict=True))

    return Engine(name, run, segmenter.close)


def _openvino(name: str, model: bytes) -> Engine:
    import openvino

    core = openvino.Core()
    try:  # without the hint, processors with bfloat16 would compute in that
        settings = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(core.read_model(model), "CPU", settings)
    except RuntimeError as error:
        raise ParityError(f"openvino refuses the model: {brief(error)}") from error

    def run(slab_hu: Slab) -> dict[str, Any]:
        found = compiled(slab_hu)
        return {key: found[key].copy() for key in _OUTPUTS}

    return Engine(name, run, lambda: None)


def _reference(name: str, model: bytes) -> Engine:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(onnx.load_from_string(model))

    def run(slab_hu: Slab) -> dict[str, Any]:
        with np.errstate(over="ignore"):  # of exp(-x) in its sigmoid
            return dict(zip(_OUTPUTS, evaluator.run(_OUTPUTS, {"slab": slab_hu}), strict=True))

    return Engine(name, run, lambda: None)


ENGINES: dict[str, Callable[[str, bytes], Engine]] = {
    **dict.fromkeys(PROVIDERS, _onnxruntime),
    "openvino": _openvino,
    "reference": _reference,
}
"""ONNX Runtime's providers through lits_runtime, OpenVINO, and onnx's evaluator in plain NumPy."""
USUAL = ("cpu", "cuda", "openvino")
"""Compared where they load. TensorRT builds its engine for minutes, and the reference evaluator
takes seconds for a slice: each has to be named."""


def usual_engines() -> tuple[str, ...]:
    """Those of `USUAL` that load on this machine; the others are logged."""
    found = []
    for name in USUAL:
        try:
            if why_missing(name) is None:
                if name in PROVIDERS:
                    Segmenter.open(provider=name).close()  # a GPU may be missing all the same
                found.append(name)
                continue
        except ProviderError as error:
            logger.debug("%s: %s", name, error)
        logger.info("not compared in %s, which does not load here", name)
    return tuple(found)
