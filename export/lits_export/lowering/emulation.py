"""Lowering the network to float16, module by module, with the float32 islands that it needs."""

import copy
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from lits_export.lowering.fuse import for_inference
from lits_export.lowering.stored_weights import split
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.network.slab_segmenter import SlabSegmenter

logger = logging.getLogger(__name__)

STEM = "encoder.0"
"""Kept in float32: float16 resolves a slice scaled to 0..1 no better than 2 of 4096 HU."""

MAX_FLOAT32_WEIGHTS = 0.06
"""Largest share of the weights stored in float32; each hundredth costs half of one in file size."""


HEADROOM = 0.9
"""Share of the tolerance that the worst slabs may take, because another may then differ more."""


LARGEST_FLOAT16 = 65504 / 2
"""Half of what float16 holds: a scan that was not compared may have larger activations."""


class Float32Mean(nn.Module):
    """Global average pooling that sums in float32 whatever the precision around it.

    In float16 the sums of squeeze-and-excite pooling overflow, and ONNX Runtime's CUDA kernel gives
    0 or NaN (microsoft/onnxconverter-common#323).
    """

    def forward(self, features: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, channels, 1, 1)."""
        return features.float().mean(dim=(2, 3), keepdim=True).to(features.dtype)


class InPrecision(nn.Module):
    """A module that casts its inputs to its own precision first."""

    def __init__(self, module: nn.Module, dtype: torch.dtype, emulated: bool = False) -> None:
        super().__init__()
        self.lowered = module.to(dtype)
        self.dtype = dtype
        self.emulated = emulated

    def forward(self, *inputs: Tensor) -> Any:
        """Whatever the module gives for its inputs, cast."""
        checked = self.emulated and self.dtype == torch.float16
        cast = (to_float16(value) if checked else value.to(self.dtype) for value in inputs)
        return self.lowered(*cast)


def to_float16(values: Tensor) -> Tensor:
    """Infinite where float16 does not hold the values, or on another scan might not."""
    return values.masked_fill(values.abs() > LARGEST_FLOAT16, torch.inf).to(torch.float16)


class AccumulateInFloat32(nn.Module):
    """A float16 convolution as GPUs compute it: products are summed in float32, the sum is rounded.

    Torch's own on the CPU does the same at up to a hundredth of the speed.
    """

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution.float()

    def forward(self, features: Tensor) -> Tensor:
        """float16 to float16, as `to_float16` has it."""
        return to_float16(self.convolution(features.float()))


def module_names(network: SegmentationNetwork) -> list[str]:
    """The modules whose precision is chosen one by one: a convolution each, or a pooling branch."""
    names = [STEM]
    for name, module in network.named_modules():
        parent, _, last = name.rpartition(".")
        in_block = parent.endswith(".f") or last == "proj"
        in_decoder = parent.startswith("decoder.") and last in ("up", "conv")
        if (in_block or in_decoder) and list(module.parameters()):
            names.append(name)
    return [*names, "head"]


class Mixture:
    """A network of which every module exists in float16 and in float32, to choose from."""

    def __init__(self, network: SegmentationNetwork, emulated: bool = False) -> None:
        """Prepare the modules.

        Args:
            network: float32; not changed.
            emulated: let float16 convolutions compute as on GPUs; the graph would not show it.
        """
        self.network = for_inference(network)
        self.emulated = emulated
        for module in self.network.modules():
            if isinstance(module, SqueezeExcitation):
                module.avgpool = Float32Mean()
        self.names = module_names(self.network)
        originals = {name: self.network.get_submodule(name) for name in self.names}
        self._sizes = {name: _count(module) for name, module in originals.items()}
        self._total = _count(self.network)
        self._whole = {name: InPrecision(m, torch.float32) for name, m in originals.items()}
        self._rounded = {name: _rounded(module) for name, module in originals.items()}
        self._float16 = {name: self._lowered(module) for name, module in originals.items()}

    def keeping(self, keep_float32: Sequence[str]) -> SegmentationNetwork:
        """The network with the named modules in float32, the rest in float16, pooling excepted.

        The weights of a named module are as trained while `float32_weights` has room for them, else
        rounded as in the file. The next call changes what this one gave.
        """
        whole = self.float32_weights(keep_float32)
        for name in self.names:
            kept = self._whole if name in whole else self._rounded
            chosen = kept if name in keep_float32 else self._float16
            parent, _, child = name.rpartition(".")
            setattr(self.network.get_submodule(parent), child, chosen[name])
        return self.network.eval()

    def float32_weights(self, keep_float32: Sequence[str]) -> list[str]:
        """Those of the modules computed in float32 whose weights are also stored so.

        As many as `MAX_FLOAT32_WEIGHTS` allows, in the given order.
        """
        left = MAX_FLOAT32_WEIGHTS * self._total
        whole = []
        for name in keep_float32:
            if self._sizes[name] <= left:
                whole.append(name)
                left -= self._sizes[name]
        return whole

    def _lowered(self, module: nn.Module) -> InPrecision:
        lowered = InPrecision(copy.deepcopy(module), torch.float16, self.emulated)
        for parent in list(lowered.modules()) if self.emulated else []:
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Conv2d | nn.ConvTranspose2d):
                    setattr(parent, name, AccumulateInFloat32(child))
        return lowered


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _rounded(module: nn.Module) -> InPrecision:
    """Computed in float32, with weights as `store_in_float16` stores them."""
    module = copy.deepcopy(module)
    for convolution in module.modules():
        if isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d):
            axis = 1 if isinstance(convolution, nn.ConvTranspose2d) else 0
            stored, scale = split(convolution.weight.detach().numpy(), axis)
            convolution.weight.data = torch.from_numpy(stored * scale)
    return InPrecision(module, torch.float32)


def sensitive_modules(
    reference: SlabSegmenter,
    keep_float32: Sequence[str],
    slabs: Iterable[NDArray[np.float32]],
    tolerance: float,
) -> list[str]:
    """The modules to keep in float32 as well, so that the slabs' probabilities hold the tolerance.

    Every module is put alone into float16; those that change the probabilities most are kept
    in float32, until what remains changes them by less than `HEADROOM` of the tolerance. Empty if
    nothing can be gained.

    Args:
        reference: the trained network, float32.
        keep_float32: modules that already are.
        slabs: float32 (n + 2 * context_slices, height, width) each, what differs most.
        tolerance: largest |probability difference| allowed.
    """
    mixture = Mixture(reference.network, emulated=True)
    names = mixture.names
    candidates = [name for name in names if name not in keep_float32]
    with torch.inference_mode():
        scaled = torch.cat([reference.preprocessing(torch.from_numpy(slab)) for slab in slabs])
        probability = reference.network(scaled).sigmoid()

        def difference(keep: Sequence[str]) -> float:
            logits = mixture.keeping(keep)(scaled).float()
            change = (logits.sigmoid() - probability).abs()
            return float(change.nan_to_num(nan=torch.inf).max())

        effect = {name: difference([n for n in names if n != name]) for name in candidates}
        ranked = sorted(candidates, key=lambda name: -effect[name])
        allowed = HEADROOM * tolerance
        count = _fewest(len(ranked), lambda n: difference([*keep_float32, *ranked[:n]]) <= allowed)
    if count:
        told = ", ".join(f"{name} ({effect[name]:.1e})" for name in ranked[:count])
        logger.info("kept in float32: %s", told)
    return ranked[:count]


def _fewest(most: int, enough: Callable[[int], bool]) -> int:
    """The smallest number from 1 to `most` that is enough, by bisection; 0 if none is."""
    if most == 0 or not enough(most):
        return 0
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
