"""Lowering the network to float16, block by block, with the float32 islands that it needs."""

import copy
import logging
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from lits_train.network import SegmentationNetwork
from lits_train.pipeline import SlabSegmenter

logger = logging.getLogger(__name__)

STEM = "encoder.0"
"""Kept in float32: float16 resolves a slice scaled to 0..1 no better than 2 of 4096 HU."""


class Float32Mean(nn.Module):
    """Global average pooling that sums in float32 whatever the precision around it.

    In float16 the sums of squeeze-and-excite pooling overflow, and ONNX Runtime's CUDA kernel gives
    0 or NaN (microsoft/onnxconverter-common#323).
    """

    def forward(self, features: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, channels, 1, 1)."""
        return features.float().mean(dim=(2, 3), keepdim=True).to(features.dtype)


class InPrecision(nn.Module):
    """A block that casts its inputs to its own precision first."""

    def __init__(self, block: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.block = block.to(dtype)
        self.dtype = dtype

    def forward(self, *inputs: Tensor | None) -> Any:
        """Whatever the block gives for its inputs, cast."""
        cast = (value if value is None else value.to(self.dtype) for value in inputs)
        return self.block(*cast)


def block_names(network: SegmentationNetwork) -> list[str]:
    """The blocks whose precision is chosen one by one, in the order in which they run."""
    names: list[str] = []
    for index, stage in enumerate(network.encoder):
        inner = [name for name, _ in stage.named_children()] if index else []
        names += [f"encoder.{index}.{name}" for name in inner] or [f"encoder.{index}"]
    return [*names, *(f"decoder.{index}" for index in range(len(network.decoder))), "head"]


def lower_network(
    network: SegmentationNetwork, keep_float32: Collection[str] = (STEM,)
) -> SegmentationNetwork:
    """A copy of the network in float16, except for the named blocks and all pooling."""
    lowered = copy.deepcopy(network)
    for module in lowered.modules():
        if isinstance(module, SqueezeExcitation):
            module.avgpool = Float32Mean()
    for name in block_names(network):
        parent_name, _, child = name.rpartition(".")
        parent = lowered.get_submodule(parent_name)
        dtype = torch.float32 if name in keep_float32 else torch.float16
        setattr(parent, child, InPrecision(lowered.get_submodule(name), dtype))
    return lowered.eval()


def sensitive_blocks(
    reference: SlabSegmenter, keep_float32: Sequence[str], slab_hu: Tensor, tolerance: float
) -> list[str]:
    """The blocks to keep in float32 as well, so that a slab's probabilities hold the tolerance.

    Every block is put alone into float16; those that change the slab's probabilities most are kept
    in float32, until what remains changes them by less than half the tolerance. Empty if nothing
    can be gained.

    Args:
        reference: the trained network, float32.
        keep_float32: blocks that already are.
        slab_hu: float32 (n + 2 * context_slices, height, width), the slab that differs most.
        tolerance: largest |probability difference| allowed.
    """
    names = block_names(reference.network)
    candidates = [name for name in names if name not in keep_float32]
    with torch.inference_mode():
        probability = reference(slab_hu)[1]

        def difference(keep: Collection[str]) -> float:
            lowered = SlabSegmenter(reference.recipe, lower_network(reference.network, keep))
            change = (lowered.eval()(slab_hu)[1] - probability).abs()
            return float(change.nan_to_num(nan=torch.inf).max())

        effect = {name: difference([n for n in names if n != name]) for name in candidates}
        ranked = sorted(candidates, key=lambda name: -effect[name])
        for count in range(1, len(ranked)):
            if difference([*keep_float32, *ranked[:count]]) < tolerance / 2:
                break
        else:
            return []
    logger.info(
        "kept in float32: %s", ", ".join(f"{name} ({effect[name]:.1e})" for name in ranked[:count])
    )
    return ranked[:count]
