"""Checkpoints: weights and everything needed to rebuild the network, written atomically."""

import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lits_runtime.errors import CheckpointError
from lits_runtime.files.atomic import atomic_path
from lits_runtime.messages import brief
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.settings.inference import Inference
from lits_train.settings.recipe import BASELINE, RECIPES, Recipe
from lits_train.weights.reader import read_weights
from lits_train.weights.state_dict import find_state_dict, misfit

BEST_NAME = "regnet_lits_tumor_segmentation_trained.pth"
LAST_NAME = "last.pth"
METRICS_NAME = "metrics.jsonl"
FULL_VALIDATION_NAME = "full_validation.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A trained network's settings and weights, and the state to resume its training from."""

    recipe: Recipe
    state_dict: dict[str, Tensor]
    training: dict[str, Any]
    """Provenance: data fingerprint, cases, epochs, scores, versions."""
    resume: dict[str, Any] = field(default_factory=dict)
    """State of optimizer, loss scaling and progress; empty in the best checkpoint."""
    inference: Inference | None = None
    """Chosen on validation cases at full resolution, to be used with these weights."""
    sha256: str = ""
    """Of the file that was read."""

    def as_used(self) -> "Checkpoint":
        """The checkpoint with the chosen thresholds in place of the recipe's."""
        if self.inference is None:
            return self
        return replace(self, recipe=self.recipe.override(thresholds=self.inference.thresholds))

    def network(self) -> SegmentationNetwork:
        """The network with these weights, in evaluation mode.

        Raises:
            CheckpointError: the weights do not fit the recipe's network.
        """
        network = _untrained(self.recipe)
        if difference := misfit(self.state_dict, network.state_dict()):
            raise CheckpointError(f"the weights do not fit the recipe: {difference}")
        network.load_state_dict(self.state_dict)
        return network.eval()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint; whatever happens, `path` is the old file or the complete new one.

    Raises:
        OSError: the disk is full or permission is missing; it names `path`.
    """
    content = {
        "format_version": FORMAT_VERSION,
        "recipe": checkpoint.recipe.to_json(),
        "state_dict": checkpoint.state_dict,
        "training": checkpoint.training,
        "resume": checkpoint.resume,
        "inference": checkpoint.inference.to_json() if checkpoint.inference else {},
    }
    buffer = io.BytesIO()  # torch's own error on a full disk does not mention the disk
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without running any code that it may carry.

    Bare weights of the baseline recipe's network are accepted as well, as .pth or .safetensors: at
    the top level or under "state_dict" or "model_state_dict", with or without the prefixes of
    DataParallel and torch.compile.

    Raises:
        CheckpointError: damaged, unsafe, of a newer format, or weights that do not fit the recipe.
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
    """A checkpoint of lits-train, or a .safetensors file with a recipe."""
    version = content.get("format_version", FORMAT_VERSION)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"format {brief(version)}, this version of lits-toolkit reads up to {FORMAT_VERSION}; "
            "upgrade it"
        )
    state = find_state_dict({"state_dict": content.get("state_dict")})
    settings, training, resume = (content.get(key, {}) for key in ("recipe", "training", "resume"))
    if state is None or not all(isinstance(part, dict) for part in (settings, training, resume)):
        raise CheckpointError("damaged: its parts are not those that lits-train writes")
    try:
        json.dumps(training)  # short: `read_weights` has counted its values
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"damaged: its provenance is not plain values: {brief(error)}"
        ) from error
    recipe = Recipe.from_json(settings)
    if difference := misfit(state, _untrained(recipe).state_dict()):
        raise CheckpointError(
            f"the weights do not fit the recipe {brief(recipe.name)}: {difference}"
        )
    inference = _inference(content.get("inference"), recipe)
    return Checkpoint(recipe, state, training, resume, inference, sha256)


def _inference(content: Any, recipe: Recipe) -> Inference | None:
    """What was chosen; None in a checkpoint without it, as older ones are."""
    if not content:
        return None
    try:
        inference = Inference.from_json(content)
        recipe.override(thresholds=inference.thresholds)
    except ValueError as error:
        raise CheckpointError(f"damaged, its settings of inference: {error}") from error
    return inference


def _bare(content: Any, sha256: str) -> Checkpoint:
    """Weights without settings, which are assumed to be the baseline recipe's."""
    state = find_state_dict(content)
    if state is None:
        found = brief(sorted(map(str, content))[:5] if isinstance(content, dict) else type(content))
        raise CheckpointError(f"holds {found}; expected a checkpoint of lits-train or a state dict")
    difference = misfit(state, _untrained(BASELINE).state_dict())
    if not difference:
        return Checkpoint(BASELINE, state, {"source": "weights alone"}, sha256=sha256)
    if any(not misfit(state, _untrained(recipe).state_dict()) for recipe in RECIPES.values()):
        raise CheckpointError(
            "weights of the default recipe's network without its settings; expected the checkpoint "
            "that lits-train wrote, or .safetensors with the recipe as JSON in its metadata"
        )
    hint = ""
    if "trunk_output.block1.block1-0.proj.0.weight" in state:
        hint = "; it is a plain RegNetY: start a training from it with lits-train --weights FILE"
    raise CheckpointError(
        f"weights without settings must fit the baseline recipe's network, and these do not: "
        f"{difference}{hint}"
    )


def _untrained(recipe: Recipe) -> SegmentationNetwork:
    try:
        return SegmentationNetwork(recipe)
    except Exception as error:  # odd settings make torch raise all kinds of errors
        raise CheckpointError(f"no network can be built from the recipe: {brief(error)}") from error
