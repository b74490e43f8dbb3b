"""The checkpoints and files that a benchmark of models needs, made where they are missing."""

from pathlib import Path

import torch

from lits_export.export import ExportSettings, export_model
from lits_export.parity.tolerance import TOLERANCES, Tolerance
from lits_train.network.checkpoint import Checkpoint, save_checkpoint
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.settings.recipe import RECIPES

_ANY = Tolerance(probability=None, dice=0.0)


def untrained(folder: Path) -> list[Path]:
    """A checkpoint of each recipe with random weights: as fast as a trained one."""
    paths = []
    for name, recipe in RECIPES.items():
        path = folder / f"untrained-{name}.pth"
        if not path.exists():
            torch.manual_seed(0)
            network = SegmentationNetwork(recipe)
            save_checkpoint(Checkpoint(recipe, network.state_dict(), {"epochs": 0}), path)
        paths.append(path)
    return paths


def exported(checkpoint: Path, scan: Path | None, folder: Path, trained: bool) -> dict[str, Path]:
    """The file of each precision, compared on the CPU; an untrained network's labels mean nothing.

    Args:
        checkpoint: of lits-train.
        scan: to calibrate and compare on; None: the phantom.
        folder: where the files are or go, by the checkpoint's name.
        trained: whether the usual tolerances are to hold.

    Raises:
        ParityError: a trained network's file is out of tolerance.
    """
    models = {}
    for precision, usual in TOLERANCES.items():
        models[precision] = folder / f"{checkpoint.stem}-{precision}.onnx"
        if models[precision].exists():
            continue
        check_on = () if scan is None else (scan,)
        tolerance = usual if trained else _ANY
        settings = ExportSettings(precision, check_on, tolerance, providers=("cpu",))
        export_model(checkpoint, models[precision], settings)
    return models
