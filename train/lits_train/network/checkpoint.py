"""Checkpoints: weights with all that is needed to rebuild the network, written atomically."""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lits_runtime.errors import CheckpointError
from lits_runtime.files.atomic import atomic_path
from lits_runtime.messages import brief
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.settings.recipe import RECIPES, SEED, Recipe
from lits_train.weights.reader import read_weights
from lits_train.weights.state_dict import find_state_dict, misfit

BEST_NAME = "regnet_lits_tumor_segmentation_trained.pth"
LAST_NAME = "last.pth"
METRICS_NAME = "metrics.jsonl"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A trained network's settings and weights, and what a run needs to go on."""

    recipe: Recipe
    state_dict: dict[str, Tensor]
    training: dict[str, Any]
    """Provenance: data fingerprint, cases, epochs, scores, versions."""
    resume: dict[str, Any] = field(default_factory=dict)
    """State of optimizer, loss scaling and progress; empty in the best checkpoint."""
    sha256: str = ""
    """Of the file that was read."""

    def network(self) -> SegmentationNetwork:
        """The network with these weights, in evaluation mode.

        Raises:
            CheckpointError: the weights are not of the recipe's network.
        """
        network = _untrained(self.recipe)
        if difference := misfit(self.state_dict, network.state_dict()):
            raise CheckpointError(f"the weights do not fit the recipe: {difference}")
        network.load_state_dict(self.state_dict)
        return network.eval()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint; whatever happens, `path` holds the old file or the new one, whole.

    Raises:
        OSError: no room or no permission, with `path`.
    """
    content = {
        "format_version": FORMAT_VERSION,
        "recipe": checkpoint.recipe.to_json(),
        "state_dict": checkpoint.state_dict,
        "training": checkpoint.training,
        "resume": checkpoint.resume,
    }
    buffer = io.BytesIO()  # torch's own writer tells of a full disk without saying so
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without running any code that it may carry.

    Weights alone, as .pth or .safetensors, are taken too if they are of the seed recipe's network:
    bare or under "state_dict" or "model_state_dict", with or without the prefixes of DataParallel
    and torch.compile.

    Raises:
        CheckpointError: damaged, unsafe, of a newer format, or weights that do not fit the recipe;
            the message says what was found.
        FileNotFoundError: there is no such file.
    """
    content, sha256 = read_weights(path)
    try:
        if not isinstance(content, dict) or "recipe" not in content:
            return _bare(content, sha256)
        return _complete(content, sha256)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _complete(content: dict[str, Any], sha256: str) -> Checkpoint:
    """Of lits-train, or of .safetensors with a recipe."""
    version = content.get("format_version", FORMAT_VERSION)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"format {brief(version)}, this version of lits-toolkit reads up to {FORMAT_VERSION}; "
            "upgrade it"
        )
    state = find_state_dict({"state_dict": content.get("state_dict")})
    settings, training, resume = (content.get(key, {}) for key in ("recipe", "training", "resume"))
    if state is None or not all(isinstance(part, dict) for part in (settings, training, resume)):
        raise CheckpointError("its parts are not those that lits-train writes: damaged")
    try:
        json.dumps(training)  # short: `read_weights` has counted its values
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"its training facts are not plain values: {brief(error)}") from error
    recipe = Recipe.from_json(settings)
    if difference := misfit(state, _untrained(recipe).state_dict()):
        raise CheckpointError(
            f"the weights do not fit the recipe {brief(recipe.name)}: {difference}"
        )
    return Checkpoint(recipe, state, training, resume, sha256)


def _bare(content: Any, sha256: str) -> Checkpoint:
    """Weights without settings, which only the seed recipe makes up for."""
    state = find_state_dict(content)
    if state is None:
        found = brief(sorted(map(str, content))[:5] if isinstance(content, dict) else type(content))
        raise CheckpointError(f"holds {found}, expected a checkpoint of lits-train or a state dict")
    difference = misfit(state, _untrained(SEED).state_dict())
    if not difference:
        return Checkpoint(SEED, state, {"source": "weights alone"}, sha256=sha256)
    if any(not misfit(state, _untrained(recipe).state_dict()) for recipe in RECIPES.values()):
        raise CheckpointError(
            "weights of the default recipe's network without its settings: give the checkpoint "
            "that lits-train wrote, or .safetensors with the recipe's JSON under the key recipe"
        )
    hint = ""
    if "trunk_output.block1.block1-0.proj.0.weight" in state:
        hint = "; these are of a RegNetY alone: train with lits-train --weights FILE"
    raise CheckpointError(
        f"not weights of the seed recipe's network, the only ones taken without settings: "
        f"{difference}{hint}"
    )


def _untrained(recipe: Recipe) -> SegmentationNetwork:
    try:
        return SegmentationNetwork(recipe)
    except Exception as error:  # torch raises whatever odd settings provoke
        raise CheckpointError(f"the recipe's settings make no network: {brief(error)}") from error
