"""Tensors in a state dict that are no layer: of losses, of classifiers, of the input's norm."""

import re
from collections.abc import Mapping

from torch import Tensor

from lits_runtime.errors import CheckpointError

_NOT_THE_NETWORK = re.compile(r"(?:.*\.)?_?(criterion|loss\w*|loss_fn|metrics?|\w+_metrics?)\..+")
_CLASSIFIER_INPUTS = 440
_STATISTICS = re.compile(r"(?:.*\.)?(?:pixel_)?(mean|std)")


def without_extras(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors that may be layers, and the names of those that are not.

    A classifier on the encoder's features (`fc` of torchvision) and the state of losses and metrics
    do nothing to the logits.
    """
    kept, ignored = {}, []
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        weight = state.get(f"{module}.weight" if module else "weight")
        classifier = weight is not None and tuple(weight.shape[1:]) == (_CLASSIFIER_INPUTS,)
        if classifier or _NOT_THE_NETWORK.fullmatch(name):
            ignored.append(name)
        elif leaf != "num_batches_tracked":
            kept[name] = tensor
    return kept, ignored


def input_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The buffers that normalise the input, by their names in the file; empty without them.

    Raises:
        CheckpointError: they are not for values of 0..1.
    """
    found = {
        name: tensor
        for name, tensor in state.items()
        if _STATISTICS.fullmatch(name) and tensor.numel() == 3
    }
    for name, tensor in found.items():
        least = 1e-3 if name.endswith("std") else -1.0
        if not bool(((tensor >= least) & (tensor <= 1)).all()):
            raise CheckpointError(
                f"{name} {[round(value, 3) for value in tensor.flatten().tolist()]}: expected "
                "values for an input of 0..1"
            )
    return found
