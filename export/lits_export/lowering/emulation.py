"""Float16 as a GPU computes it, emulated in torch: what overflows, which modules are sensitive."""

import copy
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from lits_export.lowering.float16 import STEM
from lits_export.lowering.fuse import for_inference
from lits_export.lowering.stored_weights import split
from lits_train.network.foreign_module import ForeignNetwork
from lits_train.network.layered_decoder import LayeredDecoder
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.network.slab_segmenter import SlabSegmenter

logger = logging.getLogger(__name__)

MAX_FLOAT32_WEIGHTS = 0.06
"""Largest share of the weights stored in float32; each 1 % adds 0.5 % to the size of the file."""
HEADROOM = 0.9
"""Share of the tolerance that the worst slabs may use up: other slabs may differ more."""
LARGEST_FLOAT16 = 65504 / 2
"""Half of the largest float16: a scan that was not compared may have larger activations."""


class Emulation:
    """The file as a GPU computes it: ONNX Runtime's CPU skips the rounding between float16 nodes.

    What overflows float16 would go unseen there, in a file that fails on every GPU.
    """

    provider = "emulated float16"

    def __init__(self, segmenter: SlabSegmenter) -> None:
        self.segmenter = segmenter.eval()

    def segment(self, slab_hu: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """(n + 2 * context_slices, height, width) to labels and probability."""
        with torch.inference_mode():
            labels, probability = self.segmenter(torch.from_numpy(slab_hu))
        return labels.numpy(), probability.numpy()


class Float32Mean(nn.Module):
    """Global average pooling that sums in float32, as the file does."""

    def forward(self, features: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, channels, 1, 1)."""
        return features.float().mean(dim=(2, 3), keepdim=True).to(features.dtype)


class InPrecision(nn.Module):
    """A module that casts its inputs to its own precision first."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.lowered = module.to(dtype)
        self.dtype = dtype

    def forward(self, *inputs: Tensor) -> Any:
        """Whatever the module gives for its inputs, cast."""
        lowered = self.dtype == torch.float16
        cast = (to_float16(value) if lowered else value.to(self.dtype) for value in inputs)
        return self.lowered(*cast)


def to_float16(values: Tensor) -> Tensor:
    """Values in float16; infinite where float16 cannot hold them, or on another scan might not."""
    return values.masked_fill(values.abs() > LARGEST_FLOAT16, torch.inf).to(torch.float16)


class AccumulateInFloat32(nn.Module):
    """A float16 convolution as GPUs compute it: products are summed in float32, the sum is rounded.

    Torch's own float16 convolution does the same on the CPU, up to a hundred times slower.
    """

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution.float()

    def forward(self, features: Tensor) -> Tensor:
        """float16 to float16, by `to_float16`."""
        return to_float16(self.convolution(features.float()))


def module_names(network: SegmentationNetwork) -> list[str]:
    """The modules whose precision is chosen one by one: a convolution each, or a pooling branch.

    A network from elsewhere is one module.
    """
    names = [STEM]
    if isinstance(network, ForeignNetwork):
        return names
    for name, module in network.named_modules():
        parent, _, last = name.rpartition(".")
        in_block = parent.endswith(".f") or last == "proj"
        in_decoder = parent.startswith("decoder.") and last in ("up", "conv")
        layered = isinstance(network.decoder, LayeredDecoder) and parent == "decoder"
        if (in_block or in_decoder or layered) and list(module.parameters()):
            names.append(name)
    return [*names, "head"]


class Mixture:
    """A network with each of its modules lowered and in float32, to choose from."""

    def __init__(self, network: SegmentationNetwork, *, weights_only: bool = False) -> None:
        """Prepare the modules.

        Args:
            network: float32; not changed.
            weights_only: lower the weights to float16, and leave the arithmetic in float32.
        """
        self.network = for_inference(network)
        for module in self.network.modules():
            if isinstance(module, SqueezeExcitation):
                module.avgpool = Float32Mean()
        self.names = module_names(self.network)
        originals = {name: self.network.get_submodule(name) for name in self.names}
        self._sizes = {name: _count(module) for name, module in originals.items()}
        self._total = _count(self.network)
        self._whole = {name: InPrecision(m, torch.float32) for name, m in originals.items()}
        self._rounded = {name: _rounded(module) for name, module in originals.items()}
        lower = _rounded if weights_only else _lowered
        self._lowered = {name: lower(module) for name, module in originals.items()}

    def keeping(
        self, keep_float32: Sequence[str], whole: Sequence[str] | None = None
    ) -> SegmentationNetwork:
        """The network with the named modules in float32 and the rest lowered.

        The next call changes the network that this one returned.

        Args:
            keep_float32: modules that are computed in float32.
            whole: those of them with weights as trained; the weights of the others are rounded as
                in the file. None: `float32_weights`.
        """
        whole = self.float32_weights(keep_float32) if whole is None else whole
        for name in self.names:
            kept = self._whole if name in whole else self._rounded
            chosen = kept if name in keep_float32 else self._lowered
            parent, _, child = name.rpartition(".")
            setattr(self.network.get_submodule(parent), child, chosen[name])
        return self.network.eval()

    def float32_weights(self, keep_float32: Sequence[str]) -> list[str]:
        """Those of the float32 modules whose weights are stored in float32 as well.

        As many as `MAX_FLOAT32_WEIGHTS` allows, in the given order.
        """
        left = MAX_FLOAT32_WEIGHTS * self._total
        whole = []
        for name in keep_float32:
            if self._sizes[name] <= left:
                whole.append(name)
                left -= self._sizes[name]
        return whole


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _lowered(module: nn.Module) -> InPrecision:
    lowered = InPrecision(copy.deepcopy(module), torch.float16)
    for parent in list(lowered.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d | nn.ConvTranspose2d):
                setattr(parent, name, AccumulateInFloat32(child))
    return lowered


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
    mixture: Mixture,
    keep_float32: Sequence[str],
    slabs: Iterable[NDArray[np.float32]],
    tolerance: float,
) -> list[str]:
    """The modules to keep in float32 as well, so that the probabilities stay within tolerance.

    Each module is lowered alone. Those that change the probabilities most are kept in float32,
    until the rest changes them by less than `HEADROOM` of the tolerance. Empty if nothing can be
    gained.

    Args:
        reference: the trained network, float32.
        mixture: of the same network; changed.
        keep_float32: modules that are kept already.
        slabs: float32 (n + 2 * context_slices, height, width) each, those that differ most.
        tolerance: largest |probability difference| allowed.
    """
    candidates = [name for name in mixture.names if name not in keep_float32]
    with torch.inference_mode():
        scaled = torch.cat([reference.preprocessing(torch.from_numpy(slab)) for slab in slabs])
        probability = reference.network(scaled).sigmoid()

        def difference(keep: Sequence[str], whole: Sequence[str] | None = None) -> float:
            logits = mixture.keeping(keep, whole)(scaled).float()
            change = (logits.sigmoid() - probability).abs()
            return float(change.nan_to_num(nan=torch.inf).max())

        others = {name: [n for n in mixture.names if n != name] for name in candidates}
        effect = {name: difference(keep, keep) for name, keep in others.items()}
        ranked = sorted(candidates, key=lambda name: -effect[name])
        allowed = HEADROOM * tolerance
        count = _fewest(len(ranked), lambda n: difference([*keep_float32, *ranked[:n]]) <= allowed)
    if count:
        kept = ", ".join(f"{name} ({effect[name]:.1e})" for name in ranked[:count])
        logger.info("kept in float32: %s", kept)
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
