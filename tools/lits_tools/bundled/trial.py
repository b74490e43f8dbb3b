"""A trial: a training on the public data without some cases, its model, and its scores on them."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lits_export.export import DEFAULT_PRECISION, ExportSettings, export_model
from lits_export.parity.tolerance import TOLERANCES
from lits_runtime.cli.progress import stopping_on_signals
from lits_runtime.files.atomic import atomic_path
from lits_runtime.labels import lesion_mask, liver_mask
from lits_runtime.segment.segmenter import Segmenter
from lits_runtime.volumes.label_volume import read_labels
from lits_tools.bundled import data as trial_data
from lits_tools.bundled.settings import TrialData
from lits_tools.scores.overlap import overlap
from lits_train.network.checkpoint import LAST_NAME, METRICS_NAME, load_checkpoint
from lits_train.prepared.slices import open_cases
from lits_train.settings.recipe import Recipe
from lits_train.settings.run import RunSettings
from lits_train.training.loop import train

MODEL_NAME, SCORES_NAME = "model.onnx", "scores.json"


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
    """Of the file that is scored."""
    minutes: float | None = None
    """Limit of the training time, over all resumed parts; None: all epochs."""
    seed: int = 0
    device: str = "cpu"
    resume: bool = False

    def carry_out(self) -> dict[str, Any]:
        """Train, export and score; the result is written to `SCORES_NAME` as well.

        Raises:
            DatasetError: scans are missing.
            CheckpointError: there is a run already, or none to resume.
            ParityError: the file is not in numerical parity with the network.
            KeyboardInterrupt: training was interrupted; it can be resumed.
        """
        return self.judge(self.train())

    def train(self) -> dict[str, Any]:
        """Train, and return the number of epochs and the minutes they took; see `carry_out`."""
        folder = self.folder / self.name
        prepared = trial_data.build(self.data, self.shared, self.folder, self.recipe.size)
        hidden = trial_data.without(self.without, self.data, self.shared)
        cases = [case for case in open_cases(prepared) if case.case_id not in hidden]
        single = [case.case_id for case in cases if case.case_id.startswith("msd-")]
        phantom = str(self.data.validation_phantom)
        run = RunSettings(
            folder,
            seed=self.seed,
            validation_cases=(phantom, *single[:: self.data.validation_every]),
            device=self.device,
            resume=self.resume,
        )
        left = math.inf if self.minutes is None else self.minutes - _minutes(folder)
        end = time.monotonic() + 60 * left
        with stopping_on_signals() as stop:
            result = train(
                cases, self.recipe, run, lambda: stop.requested() or time.monotonic() > end
            )
        if stop.requested():
            raise KeyboardInterrupt
        return {"epochs": result.epochs, "minutes": _minutes(folder)}

    def judge(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Export the network of the last step and score it.

        Not that of the best epoch: among the validation cases only a phantom has marked lesions.

        Args:
            facts: of the training, written beside the scores.

        Raises:
            CheckpointError: there is no network yet.
            ParityError: the file is not in numerical parity with the network.
        """
        folder, sources = self.folder / self.name, self.folder / "sources"
        checkpoint = folder / LAST_NAME
        lossless = self.precision == "fp32"
        checks = () if lossless else trial_data.volumes(sources, self.data.unseen)
        tolerance = TOLERANCES[self.precision]
        if lossless:  # on the phantom, in which a short trial may find nothing
            tolerance = replace(tolerance, dice=0.0)
        settings = ExportSettings(
            self.precision, checks, tolerance=tolerance, licence=self.data.licence
        )
        model = export_model(checkpoint, folder / MODEL_NAME, settings).model
        scores = {
            "without": list(self.without),
            "seed": self.seed,
            "validation_dice": load_checkpoint(checkpoint).training.get("validation_dice"),
            **facts,
            "cases": score(model, sources, self.data.case_ids),
        }
        with atomic_path(folder / SCORES_NAME) as temporary:
            temporary.write_text(json.dumps(scores, indent=1) + "\n")
        return scores


def _minutes(run: Path) -> float:
    """Time of the complete epochs of a run, over all its resumed parts."""
    path = run / METRICS_NAME
    lines = path.read_text().splitlines() if path.exists() else []
    return sum(float(json.loads(line)["seconds"]) for line in lines) / 60


def score(model: Path, sources: Path, case_ids: Sequence[str]) -> dict[str, dict[str, float]]:
    """Liver and lesion Dice and lesion volumes of a model, by case."""
    segmenter = Segmenter.open(model, provider="cpu")
    scores: dict[str, dict[str, float]] = {}
    for case_id in case_ids:
        (volume,) = trial_data.volumes(sources, (case_id,))
        result = segmenter.segment(volume)
        gt = read_labels(sources / f"segmentation-{case_id}.nii.gz")
        pred = result.geometry.to_canonical(result.labels)
        liver = overlap(liver_mask(pred), liver_mask(gt.labels))
        lesion = overlap(lesion_mask(pred), lesion_mask(gt.labels))
        voxel_ml = gt.geometry.voxel_ml
        scores[case_id] = {
            "liver_dice": liver.dice,
            "lesion_dice": lesion.dice,
            "lesion_ml": lesion.predicted * voxel_ml,
            "lesion_ml_gt": lesion.reference * voxel_ml,
        }
    return scores
