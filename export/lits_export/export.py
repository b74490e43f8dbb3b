"""Checkpoint in, verified model out: traced, lowered, checked, compared, then written."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch

from lits_export.graph import OPSET, trace
from lits_export.parity import TOLERANCES, ParityReport, Tolerance, compare
from lits_export.precision import STEM, lower_network, sensitive_blocks
from lits_export.slabs import CheckSlab, boundary_slabs, phantom_slabs, scan_files, scan_slabs
from lits_runtime.atomic import atomic_path
from lits_runtime.errors import ParityError
from lits_runtime.metadata import (
    DISCLAIMER,
    FORMAT_VERSION,
    METADATA_KEY,
    ORIENTATION,
    ModelMetadata,
)
from lits_runtime.segmenter import Segmenter
from lits_runtime.volume import Scan
from lits_train.checkpoint import Checkpoint, load_checkpoint
from lits_train.pipeline import SlabSegmenter
from lits_train.recipe import LABEL_VALUES

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportSettings:
    """What is asked of one export."""

    precision: str = "fp16"
    """A key of `TOLERANCES`."""
    check_on: tuple[Path, ...] = ()
    """Scans or folders of scans; the built-in phantom if empty."""
    tolerance: Tolerance | None = None
    """None: that of the precision."""
    provider: str = "cpu"
    """On which the written file is compared."""
    licence: str = "Apache-2.0"
    """Of the weights, which may be bound by the data they were trained on."""
    intended_use: str = DISCLAIMER


@dataclass(frozen=True)
class ExportResult:
    """A model that passed."""

    model: Path
    bytes: int
    parity: ParityReport


def export_model(checkpoint: Path, model: Path, settings: ExportSettings) -> ExportResult:
    """Export a checkpoint to one ONNX file that demonstrably says what the network says.

    The file is compared with the torch network, in float32, on every slab of the check scans and
    on the boundary cases, through lits_runtime. Out of tolerance, nothing is written and an older
    file at `model` stays.

    Raises:
        CheckpointError: the checkpoint is unreadable or of another architecture.
        ParityError: the model is out of tolerance; the message holds the figures.
        VolumeError: a check scan is not readable.
    """
    loaded = load_checkpoint(checkpoint)
    tolerance = settings.tolerance or TOLERANCES[settings.precision]
    reference = SlabSegmenter(loaded.recipe, loaded.network()).eval()
    proto, parity, float32_blocks = _lower_until_parity(reference, loaded, settings, tolerance)
    logger.info("%s", parity.table())
    if broken := parity.broken(tolerance):
        raise ParityError(
            f"the {settings.precision} model is out of tolerance and was not written: {broken}; "
            f"worst at slice {parity.worst_slice} of {parity.worst_slab}"
        )
    report = {
        **parity.to_json(),
        "tolerance": {"probability": tolerance.probability, "dice": tolerance.dice},
        "check_scans": [file.name for file in scan_files(settings.check_on)] or ["phantom"],
        "float32_blocks": float32_blocks,
    }
    content = _serialise(proto, _metadata(loaded, settings, report))
    with atomic_path(model) as temporary:
        temporary.write_bytes(content)
        _reread(temporary, proto)
    return ExportResult(model, len(content), parity)


def _lower_until_parity(
    reference: SlabSegmenter, loaded: Checkpoint, settings: ExportSettings, tolerance: Tolerance
) -> tuple[onnx.ModelProto, ParityReport, list[str]]:
    """Keep more blocks in float32 until the figures hold or nothing is left to gain."""
    keep = [STEM]
    while True:
        fp32 = settings.precision == "fp32"
        network = reference.network if fp32 else lower_network(reference.network, keep)
        proto = trace(loaded.recipe, network)
        content = _serialise(proto, _metadata(loaded, settings, {}))
        segmenter = Segmenter.open(content, provider=settings.provider)
        slabs = _check_slabs(settings.check_on, loaded.recipe.context_slices)
        parity, worst = compare(reference, segmenter, slabs)
        if fp32 or not parity.broken(tolerance):
            return proto, parity, [] if fp32 else keep
        slab_hu = torch.from_numpy(worst.slab_hu)
        more = sensitive_blocks(reference, keep, slab_hu, tolerance.probability)
        if not more:
            return proto, parity, keep
        keep += more


def _check_slabs(check_on: Sequence[Path], context_slices: int) -> Iterator[CheckSlab]:
    for file in scan_files(check_on):
        yield from scan_slabs(Scan.open(file), context_slices)
    if not check_on:
        yield from phantom_slabs(context_slices)
    yield from boundary_slabs(context_slices)


def _reread(path: Path, compared: onnx.ModelProto) -> None:
    """The file on disk must open in the runtime and hold the very graph that was compared."""
    Segmenter.open(path)
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
        training=checkpoint.training,
        parity=parity,
        checkpoint_sha256=checkpoint.sha256,
        licence=settings.licence,
        intended_use=settings.intended_use,
    )
