"""Checkpoints: weights and everything needed to rebuild the network, written atomically."""

import copy
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
from lits_train.network.foreign_module import ForeignNetwork, foreign_network
from lits_train.network.foreign_weights import Given, match_weights
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.settings.inference import Inference
from lits_train.settings.recipe import Recipe
from lits_train.weights.reader import read_weights
from lits_train.weights.state_dict import misfit, our_names

BEST_NAME = "regnet_lits_tumor_segmentation_trained.pth"
LAST_NAME = "last.pth"
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
    module: ForeignNetwork | None = None
    """The network that the user's own code made, with these weights in it."""

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
        if self.module is not None:
            return copy.deepcopy(self.module)
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


def load_checkpoint(path: Path, given: Given | None = None) -> Checkpoint:
    """Read a checkpoint without running any code that it may carry.

    Weights without settings, as others save them, are matched with a network that computes the
    same, see `foreign_weights`.

    Args:
        path: .pth or .safetensors.
        given: what weights without settings do not say.

    Raises:
        CheckpointError: damaged, unsafe, of a newer format, or weights that do not fit the recipe.
        FileNotFoundError: there is no such file.
    """
    content, sha256 = read_weights(path)
    try:
        if not isinstance(content, dict) or "recipe" not in content:
            return _bare(path.name, content, sha256, given or Given())
        if given is not None and given != Given():
            raise CheckpointError(
                "a checkpoint of lits-train, which holds its own settings; --recipe, --config, "
                "--set, --key, --transposed and --module are for weights alone"
            )
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
    state = our_names(content)
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


def _bare(name: str, content: Any, sha256: str, given: Given) -> Checkpoint:
    """Weights without settings."""
    facts = {"source": "weights alone"}
    if given.module:
        network = foreign_network(given.module, content, given.key, given.recipe)
        return Checkpoint(given.recipe, network.state_dict(), facts, sha256=sha256, module=network)
    matched = match_weights(name, content, given)
    return Checkpoint(matched.recipe, matched.state_dict, facts, sha256=sha256)


def _untrained(recipe: Recipe) -> SegmentationNetwork:
    try:
        return SegmentationNetwork(recipe)
    except Exception as error:  # odd settings make torch raise all kinds of errors
        raise CheckpointError(f"no network can be built from the recipe: {brief(error)}") from error
