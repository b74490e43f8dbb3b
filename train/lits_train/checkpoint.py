"""Checkpoints: weights with all that is needed to rebuild the network, written atomically."""

import hashlib
import pickle
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lits_runtime.atomic import atomic_path
from lits_runtime.errors import CheckpointError
from lits_train.network import SegmentationNetwork
from lits_train.recipe import Recipe

BEST_NAME = "regnet_lits_tumor_segmentation_trained.pth"
LAST_NAME = "last.pth"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A trained network's settings and weights, and what a run needs to go on."""

    recipe: Recipe
    state_dict: dict[str, Tensor]
    training: dict[str, Any]
    """Provenance: data fingerprint, cases, epochs, scores, versions."""
    resume: dict[str, Any] = field(default_factory=dict)
    """State of optimizer, schedule, scaler and random generators; empty in the best checkpoint."""
    sha256: str = ""
    """Of the file that was read."""

    def network(self) -> SegmentationNetwork:
        """The network with these weights, in evaluation mode.

        Raises:
            CheckpointError: the weights are not of the recipe's network.
        """
        network = SegmentationNetwork(self.recipe)
        try:
            network.load_state_dict(self.state_dict)
        except RuntimeError as error:
            raise CheckpointError(f"the weights do not fit the recipe: {error}") from error
        return network.eval()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint; whatever happens, `path` holds the old file or the new one, whole."""
    content = {
        "format_version": FORMAT_VERSION,
        "recipe": checkpoint.recipe.to_json(),
        "state_dict": checkpoint.state_dict,
        "training": checkpoint.training,
        "resume": checkpoint.resume,
    }
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without running any code that it may carry (`weights_only=True`).

    Raises:
        CheckpointError: not a checkpoint of this project, damaged, or of a newer format.
        FileNotFoundError: there is no such file.
    """
    data = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error that follows says it better
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path}: refused, it is damaged or holds more than tensors: {reason}"
        ) from error
    except Exception as error:  # torch.load raises whatever the damaged bytes provoke
        raise CheckpointError(f"{path}: not a readable checkpoint: {error}") from error
    if not isinstance(content, dict) or "recipe" not in content or "state_dict" not in content:
        found = sorted(map(str, content))[:5] if isinstance(content, dict) else type(content)
        raise CheckpointError(f"{path}: holds {found}, expected a checkpoint of lits-train")
    if content.get("format_version", 0) > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format {content['format_version']}, this version of lits-toolkit reads up to "
            f"{FORMAT_VERSION}; upgrade it"
        )
    return Checkpoint(
        Recipe.from_json(content["recipe"]),
        content["state_dict"],
        content.get("training", {}),
        content.get("resume", {}),
        hashlib.sha256(data).hexdigest(),
    )
