"""A trial: a training on the public data without some cases, and its model."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lits_export.export import DEFAULT_PRECISION, ExportSettings, export_model
from lits_export.parity.tolerance import TOLERANCES
from lits_runtime.cli.progress import stopping_on_signals
from lits_tools.bundled.data import build, volumes, without
from lits_tools.bundled.settings import TrialData
from lits_train.network.checkpoint import (
    LAST_NAME,
    load_checkpoint,
    save_checkpoint,
)
from lits_train.prepared.slices import open_cases
from lits_train.settings.inference import Inference
from lits_train.settings.recipe import Recipe
from lits_train.settings.run import METRICS_NAME, RunSettings
from lits_train.training.loop import train

MODEL_NAME, FINAL_NAME = "model.onnx", "final.pth"


@dataclass(frozen=True)
class Trial:
    """What to train, and on which data."""

    data: TrialData
    shared: Path
    """Folder of the public data, as in `data`."""
    folder: Path
    """Working folder: of the prepared data, and of a subfolder for each trial."""
    name: str
    """Of the trial's subfolder."""
    recipe: Recipe
    without: tuple[str, ...] = ()
    """Cases that are left out of training."""
    precision: str = DEFAULT_PRECISION
    """Of the exported file."""
    seed: int = 0
    device: str = "cpu"
    resume: bool = False

    def train(self) -> dict[str, Any]:
        """Train, and return the number of epochs and the minutes they took.

        Raises:
            DatasetError: scans are missing.
            CheckpointError: there is a run already, or none to resume.
            KeyboardInterrupt: training was interrupted; it can be resumed.
        """
        folder = self.folder / self.name
        prepared = build(self.data, self.shared, self.folder, self.recipe.size)
        hidden = without(self.without, self.data, self.shared)
        cases = [case for case in open_cases(prepared) if case.case_id not in hidden]
        single = [case.case_id for case in cases if case.case_id.startswith("msd-")]
        phantom = str(self.data.validation_phantom)
        run = RunSettings(
            folder,
            seed=self.seed,
            validation_cases=(phantom, *single[:: self.data.validation_every]),
            device=self.device,
            resume=self.resume,
            full_validation=False,  # its cases are single slices: see left_out
        )
        with stopping_on_signals() as stop:
            result = train(cases, self.recipe, run, stop.requested)
        if stop.requested():
            raise KeyboardInterrupt
        return {"epochs": result.epochs, "minutes": minutes(folder)}

    def export(self, inference: Inference | None) -> Path:
        """Export the network of the last step, with what the folds chose; see `labeller_of`.

        Raises:
            CheckpointError: there is no network yet.
            ParityError: the file is not in numerical parity with the network.
        """
        folder, sources = self.folder / self.name, self.folder / "sources"
        checkpoint = replace(load_checkpoint(folder / LAST_NAME), resume={}, inference=inference)
        save_checkpoint(checkpoint, folder / FINAL_NAME)
        lossless = self.precision == "fp32"
        checks = () if lossless else volumes(sources, self.data.check_cases)
        tolerance = TOLERANCES[self.precision]
        if lossless:  # on the phantom, in which a short trial may find nothing
            tolerance = replace(tolerance, dice=0.0)
        settings = ExportSettings(
            self.precision, checks, tolerance=tolerance, licence=self.data.licence
        )
        return export_model(folder / FINAL_NAME, folder / MODEL_NAME, settings).model


def minutes(run: Path) -> float:
    """Time of the complete epochs of a run, over all its resumed parts."""
    path = run / METRICS_NAME
    lines = path.read_text().splitlines() if path.exists() else []
    return sum(float(json.loads(line)["seconds"]) for line in lines) / 60
