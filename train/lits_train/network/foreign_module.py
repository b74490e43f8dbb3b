"""A network that the user's own code makes: the last resort for weights that cannot be matched."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lits_runtime.errors import CheckpointError
from lits_runtime.messages import brief
from lits_train.network.segmentation_network import SegmentationNetwork, input_statistics
from lits_train.settings.recipe import Recipe
from lits_train.weights.match import in_float32
from lits_train.weights.state_dict import find_state_dict, misfit

_MODULE_NAME = "lits_foreign_module"


class ForeignNetwork(SegmentationNetwork):
    """The user's module, behind the normalisation of the input, in place of encoder and decoder."""

    def __init__(self, module: nn.Module, recipe: Recipe) -> None:
        nn.Module.__init__(self)
        mean, std = input_statistics(recipe)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.encoder = nn.ModuleList([module])

    def forward(self, scaled: Tensor) -> Tensor:
        """(n, 3, size, size) in 0..1 to logits (n, classes, height, width)."""
        logits: Tensor = self.encoder[0]((scaled - self.mean) / self.std)
        return logits


def make_module(place: str) -> nn.Module:
    """Run FILE.py and call its function NAME, which returns the module.

    Args:
        place: as FILE.py:NAME. The code is the user's own, and is trusted as such.

    Raises:
        CheckpointError: there is no such file or function, or it makes no module.
    """
    file, colon, name = place.rpartition(":")
    if not colon or not name.isidentifier() or not Path(file).is_file():
        raise CheckpointError(f"--module {brief(place)}: expected FILE.py:NAME of a function")
    spec = importlib.util.spec_from_file_location(_MODULE_NAME, file)
    if spec is None or spec.loader is None:
        raise CheckpointError(f"--module {brief(place)}: expected a Python file, ending in .py")
    code = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE_NAME] = code
    try:
        spec.loader.exec_module(code)
        module: Any = getattr(code, name)()
    except Exception as error:  # whatever the user's code raises
        raise CheckpointError(
            f"--module {brief(place)}: {type(error).__name__}: {brief(error)}"
        ) from error
    if not isinstance(module, nn.Module):
        raise CheckpointError(f"--module {brief(place)}: returned {type(module)}, not a nn.Module")
    return module


def foreign_network(place: str, content: Any, key: str, recipe: Recipe) -> ForeignNetwork:
    """The user's module with the weights of a file, tried on a slice.

    Raises:
        CheckpointError: the weights do not fit the module, or it does not give logits.
    """
    module = make_module(place)
    found = find_state_dict(content, key)
    state = {} if found is None else _by_its_names(found.tensors, module.state_dict())
    if difference := misfit(state, module.state_dict()):
        raise CheckpointError(f"the weights do not fit the module of --module: {difference}")
    module.load_state_dict(state)
    network = ForeignNetwork(module.float(), recipe).eval()
    try:
        with torch.inference_mode():
            logits = network(torch.zeros(2, 3, recipe.size, recipe.size))
    except Exception as error:  # whatever the user's code raises
        raise CheckpointError(
            f"the module of --module does not take (n, 3, {recipe.size}, {recipe.size}): "
            f"{brief(error)}"
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else ()
    if len(shape) != 4 or shape[:2] != (2, len(recipe.classes)):
        raise CheckpointError(
            f"the module of --module gives {shape or type(logits)}, expected logits (n, "
            f"{len(recipe.classes)}, height, width), a channel for each class"
        )
    return network


def _by_its_names(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors in float32 under the module's names, which may all begin with one word more."""
    missing = next((name for name in expected if name not in tensors), "")
    start = next(
        (missing.removesuffix(name) for name in tensors if missing.endswith(f".{name}")), ""
    )
    state = {f"{start}{name}": tensor for name, tensor in in_float32(tensors).items()}
    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, torch.zeros_like(tensor))
    return state
