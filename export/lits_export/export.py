"""Checkpoint in, verified model out: traced, lowered, compared with the network, then written."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from lits_export.lowering.candidates import (
    Candidate,
    Float16,
    Float16Weights,
    Float32,
    Int8,
    Lowering,
)
from lits_export.lowering.stored_weights import size_ratio
from lits_export.lowering.trace import OPSET, trace_checkpoint
from lits_export.lowering.training_facts import scan_count, shareable_parity, shareable_training
from lits_export.parity.compare import Expected, WorstSlice, compare_with, expected
from lits_export.parity.engines import Compared, open_engine, usual_engines, why_missing
from lits_export.parity.report import LEAST_VOXELS, ParityReport, table
from lits_export.parity.slabs import calibration_slabs, check_slabs, scan_files
from lits_export.parity.tolerance import TOLERANCES, Tolerance
from lits_export.parity.worst_slice import draw_worst_slice
from lits_runtime.errors import ParityError, ProviderError
from lits_runtime.files.atomic import atomic_path
from lits_runtime.files.output_rule import Inputs, check_targets
from lits_runtime.labels import LABEL_VALUES
from lits_runtime.model.metadata import (
    DISCLAIMER,
    FORMAT_VERSION,
    METADATA_KEY,
    ORIENTATION,
    ModelMetadata,
)
from lits_runtime.segment.segmenter import Segmenter
from lits_train.network.checkpoint import Checkpoint, load_checkpoint
from lits_train.network.foreign_weights import Given
from lits_train.network.slab_segmenter import SlabSegmenter

logger = logging.getLogger(__name__)

MAX_SIZE = {"fp32": 1.01, "fp16-weights": 0.55, "fp16": 0.55, "int8": 0.4}
"""Largest size of a file over that of the same file with float32 weights."""
DEFAULT_PRECISION = "fp16-weights"
"""Half the size of fp32, closest to the network after it, and at full speed on every processor."""
MAX_KEPT_BYTES = 2**29
"""Of the network's outputs, kept so that the next candidate need not wait for them again."""


@dataclass(frozen=True)
class ExportSettings:
    """Settings of one export."""

    precision: str = DEFAULT_PRECISION
    """A key of `TOLERANCES`."""
    check_on: tuple[Path, ...] = ()
    """Scans or folders of scans; the built-in phantom if empty."""
    tolerance: Tolerance | None = None
    """None: the precision's own."""
    providers: tuple[str, ...] = ()
    """Engines that the file is compared in; if empty, those of `engines.USUAL` that load."""
    worst_slice: Path | None = None
    """Picture to draw of the slice that differs most, whether or not the model passes."""
    licence: str = "Apache-2.0"
    """Of the weights; the terms of the training data may apply."""
    intended_use: str = DISCLAIMER
    given: Given = field(default_factory=Given)
    """What weights without settings do not say."""


@dataclass(frozen=True)
class ExportResult:
    """A model that passed."""

    model: Path
    bytes: int
    parity: tuple[ParityReport, ...]
    """In each engine, and for fp16 in the emulation."""


def export_model(checkpoint: Path, model: Path, settings: ExportSettings) -> ExportResult:
    """Export a checkpoint to one ONNX file in numerical parity with the PyTorch network.

    The file is run in each engine, and compared with the network in float32 on every slab of the
    check scans and on boundary slabs. If it is out of tolerance, larger than its precision allows,
    or a class hardly occurs in the scans, nothing is written and an older file at `model` stays.

    Raises:
        CheckpointError: the checkpoint is unreadable or of another architecture.
        ParityError: the model is out of tolerance, or no class was seen that it could be judged
            by; the message holds the figures.
        ProviderError: an engine that was asked for does not load.
        VolumeError: a check scan is not readable, or a folder holds none.
    """
    settings = replace(settings, check_on=tuple(scan_files(settings.check_on)))  # searched once
    inputs = Inputs("the checkpoint", [checkpoint]).add("a scan to check on", settings.check_on)
    pictures = [] if settings.worst_slice is None else [settings.worst_slice]
    check_targets([model, *pictures], inputs, force=True)
    loaded = load_checkpoint(checkpoint, settings.given).as_used()
    gate = _Gate(loaded, settings)
    candidate, verdict = gate.best()
    logger.info("%s", table(verdict.reports))
    if settings.worst_slice is not None:
        draw_worst_slice(verdict.worst[0], loaded.recipe, settings.worst_slice)
    if reason := verdict.missing or verdict.broken or gate.too_large(candidate):
        raise ParityError(f"the {settings.precision} model was not written: {reason}")
    metadata = _metadata(loaded, settings, gate.parity(candidate, verdict))
    content = _serialise(candidate.model, metadata)
    with atomic_path(model) as temporary:
        temporary.write_bytes(content)
        _reread(temporary, candidate.model)
    return ExportResult(model, len(content), tuple(verdict.reports))


@dataclass(frozen=True)
class _Verdict:
    """The result of comparing one candidate."""

    reports: list[ParityReport]
    worst: list[WorstSlice]
    """The worst first."""
    missing: str
    """Which classes were hardly seen, and what would show them; empty if all were."""
    broken: str
    """What is out of tolerance and where; empty if nothing is."""


class _Gate:
    """The checks that every candidate for one file has to pass."""

    def __init__(self, loaded: Checkpoint, settings: ExportSettings) -> None:
        self.loaded, self.settings = loaded, settings
        self.tolerance = settings.tolerance or TOLERANCES[settings.precision]
        self.reference = SlabSegmenter(loaded.recipe, loaded.network()).eval()
        self.engines = settings.providers or usual_engines()
        for name in settings.providers:
            if reason := why_missing(name):
                raise ProviderError(f"{name} is not available: {reason}")
        self._expected: list[Expected] = []

    def best(self) -> tuple[Candidate, _Verdict]:
        """The first candidate within tolerance, or the most careful one if none is."""
        lowering = self.lowering()
        while True:
            candidate = lowering.candidate()
            verdict = self.judge(candidate)
            if verdict.missing or not verdict.broken or not lowering.refine(verdict.worst):
                return candidate, verdict

    def lowering(self) -> Lowering:
        """What makes candidates in the given precision."""
        traced, precision = trace_checkpoint(self.loaded), self.settings.precision
        if precision == "int8":
            return Int8(traced, calibration_slabs(self.reference, self.settings.check_on))
        if precision == "fp32":
            return Float32(traced)
        lowering = Float16 if precision == "fp16" else Float16Weights
        return lowering(traced, self.reference, self.tolerance)

    def expected(self) -> Iterator[Expected]:
        """All slabs with the network's outputs, which are kept up to `MAX_KEPT_BYTES`."""
        yield from self._expected
        slabs = check_slabs(self.settings.check_on, self.loaded.recipe.context_slices)
        kept = sum(one.bytes for one in self._expected)
        for one in expected(self.reference, islice(slabs, len(self._expected), None)):
            kept += one.bytes
            if kept <= MAX_KEPT_BYTES:
                self._expected.append(one)
            yield one

    def judge(self, candidate: Candidate) -> _Verdict:
        """Compare in each engine, and in the emulation where there is one."""
        content = _serialise(candidate.model, _metadata(self.loaded, self.settings, {}))
        with ExitStack() as stack:
            opened = (open_engine(name, content) for name in self.engines)
            compared: list[Compared] = [stack.enter_context(engine) for engine in opened]
            compared += [candidate.emulation] if candidate.emulation is not None else []
            results = compare_with(self.expected(), self.loaded.recipe, compared)
        reports = [report for report, _ in results]
        found = [one for _, slices in results for one in slices]
        return _Verdict(reports, self._worst_first(found), *self._reasons(reports, found))

    def _worst_first(self, found: Sequence[WorstSlice]) -> list[WorstSlice]:
        """By the difference; boundary slabs last if no difference of theirs is too large."""
        most = self.tolerance.probability
        allowed = np.finfo(np.float32).max if most is None else most
        anatomy_first = all(one.anatomy or one.difference <= allowed for one in found)
        return sorted(found, key=lambda one: (anatomy_first and not one.anatomy, -one.difference))

    def _reasons(
        self, reports: Sequence[ParityReport], found: Sequence[WorstSlice]
    ) -> tuple[str, str]:
        """Why the figures prove too little, and what is out of tolerance; empty if nothing."""
        missing = reports[0].missing(self.tolerance)
        if missing:
            missing = (
                f"the network finds {missing} in what was compared, expected at least "
                f"{LEAST_VOXELS} of each class: name a scan that shows them with --check-on, or "
                "do without with --min-dice 0"
            )
        broken = "; ".join(filter(None, (report.broken(self.tolerance) for report in reports)))
        if broken:
            worst = self._worst_first(found)[0]
            place = f"slice {worst.index} of {worst.slab}"
            broken = f"it is out of tolerance: {broken}; worst at {place}"
        return missing, broken

    def too_large(self, candidate: Candidate) -> str:
        """Why the file is larger than its precision allows; empty if it is not."""
        content = _serialise(candidate.model, _metadata(self.loaded, self.settings, {}))
        ratio, most = size_ratio(candidate.model, content), MAX_SIZE[self.settings.precision]
        return f"it is {ratio:.3f} of fp32's size (at most {most:g})" if ratio > most else ""

    def parity(self, candidate: Candidate, verdict: _Verdict) -> dict[str, Any]:
        """The parity report for the metadata: the first engine's figures, then the others'."""
        first, *others = (report.to_json() for report in verdict.reports)
        files = scan_files(self.settings.check_on)
        report = {**first, "others": others}
        return {
            **shareable_parity(report, files),
            "tolerance": asdict(self.tolerance),
            "check_scans": scan_count(files),
            **candidate.facts,
        }


def _reread(path: Path, compared: onnx.ModelProto) -> None:
    """Check that the written file opens in the runtime and holds the graph that was compared."""
    Segmenter.open(path).close()
    if onnx.load(path).graph != compared.graph:
        raise ParityError(f"the file written to {path.parent} is not the graph that was compared")


def _serialise(proto: onnx.ModelProto, metadata: ModelMetadata) -> bytes:
    described = onnx.ModelProto()
    described.CopyFrom(proto)
    onnx.helper.set_model_props(described, {METADATA_KEY: metadata.to_json()})
    return bytes(described.SerializeToString(deterministic=True))


def _metadata(
    checkpoint: Checkpoint, settings: ExportSettings, parity: dict[str, Any]
) -> ModelMetadata:
    recipe = checkpoint.recipe
    return ModelMetadata(
        format_version=FORMAT_VERSION,
        recipe=recipe.name,
        settings=recipe.to_json(),
        classes=recipe.classes,
        label_values=tuple(LABEL_VALUES[name] for name in recipe.classes),
        thresholds=recipe.thresholds,
        context_slices=recipe.context_slices,
        orientation=ORIENTATION,
        working_size=recipe.size,
        precision=settings.precision,
        opset=OPSET,
        training=shareable_training(checkpoint.training),
        parity=parity,
        checkpoint_sha256=checkpoint.sha256,
        licence=settings.licence,
        intended_use=settings.intended_use,
        **_chosen(checkpoint),
    )


def _chosen(checkpoint: Checkpoint) -> dict[str, Any]:
    """What validation chose, but for the thresholds, which are in the recipe."""
    inference = checkpoint.inference
    if inference is None:
        return {}
    names = ("postprocessing", "search_mm", "interpolation_mm")
    return {name: getattr(inference, name) for name in names}
