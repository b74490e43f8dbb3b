"""One training on the public scans, with cases left out, its file, and what it scores on them."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lits_export.export import DEFAULT_PRECISION, ExportSettings, export_model
from lits_runtime.cli.progress import stopping_on_signals
from lits_runtime.files.atomic import atomic_path
from lits_runtime.segment.segmenter import Segmenter
from lits_runtime.volumes.label_volume import read_labels
from lits_tools.bundled import data as bundled_data
from lits_tools.scores.overlap import overlap
from lits_train.network.checkpoint import LAST_NAME, METRICS_NAME, load_checkpoint
from lits_train.prepared.slices import open_cases
from lits_train.settings.recipe import Recipe
from lits_train.settings.run import RunSettings
from lits_train.training.loop import train

LICENCE = (
    "Research only, non-commercial: trained on 3D-IRCADb-01 (CC BY-NC-ND 3.0), CHAOS (CC BY-NC-SA "
    "4.0) and slices of MSD Task03 (CC BY-SA 4.0)"
)
VALIDATION_EVERY = 10
"""Each so manieth MSD patient, and phantom 100, watch the training; scored cases never do."""
MODEL_NAME, SCORES_NAME = "model.onnx", "scores.json"


@dataclass(frozen=True)
class Trial:
    """What to train, and on what."""

    shared: Path
    """Folder of the public scans, see `bundled_data`."""
    folder: Path
    """Of prepared data and, in a folder of its own, of each trial."""
    name: str
    recipe: Recipe
    without: tuple[str, ...] = ()
    """Cases that are left out of training."""
    precision: str = DEFAULT_PRECISION
    """Of the file that is scored."""
    minutes: float | None = None
    """Training ends when they are over, those before a break included; None: with its epochs."""
    seed: int = 0
    device: str = "cpu"
    resume: bool = False

    def carry_out(self) -> dict[str, Any]:
        """Train, export, score; what comes back is in `SCORES_NAME` of the trial's folder as well.

        Raises:
            DatasetError: scans are missing.
            CheckpointError: there is a run already, or none to resume.
            ParityError: the file does not say what the network says.
            KeyboardInterrupt: a signal came while training, which can be resumed at that step.
        """
        folder = self.folder / self.name
        prepared = bundled_data.build(self.shared, self.folder, self.recipe.size)
        hidden = bundled_data.without(self.without, self.shared)
        cases = [case for case in open_cases(prepared) if case.case_id not in hidden]
        pictured = [case.case_id for case in cases if case.case_id.startswith("msd-")]
        run = RunSettings(
            folder,
            seed=self.seed,
            validation_cases=("100", *pictured[::VALIDATION_EVERY]),
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
        return self.judge({"epochs": result.epochs, "minutes": _minutes(folder)})

    def judge(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Export the network as training left it, and score it.

        Not that of the best epoch: of the cases that watch, one phantom alone shows lesions.

        Args:
            facts: of the training, that go beside the scores.

        Raises:
            CheckpointError: there is no network yet.
            ParityError: the file does not say what the network says.
        """
        folder, sources = self.folder / self.name, self.folder / "sources"
        checkpoint = folder / LAST_NAME
        checks = () if self.precision == "fp32" else bundled_data.volumes(sources, ("44", "1003"))
        settings = ExportSettings(self.precision, check_on=checks, licence=LICENCE)
        model = export_model(checkpoint, folder / MODEL_NAME, settings).model
        told = {
            "without": list(self.without),
            "seed": self.seed,
            "validation_dice": load_checkpoint(checkpoint).training.get("validation_dice"),
            **facts,
            "cases": score(model, sources),
        }
        with atomic_path(folder / SCORES_NAME) as temporary:
            temporary.write_text(json.dumps(told, indent=1) + "\n")
        return told


def _minutes(run: Path) -> float:
    """Time that the complete epochs of a run took, over all its processes."""
    path = run / METRICS_NAME
    lines = path.read_text().splitlines() if path.exists() else []
    return sum(float(json.loads(line)["seconds"]) for line in lines) / 60


def score(
    model: Path, sources: Path, scans: Sequence[str] = bundled_data.SCANS
) -> dict[str, dict[str, float]]:
    """Liver and lesion Dice and volumes of a model on scans of `bundled_data`, by case ID."""
    segmenter = Segmenter.open(model, provider="cpu")
    scores: dict[str, dict[str, float]] = {}
    for case_id in (scan.partition("/")[2] for scan in scans):
        (volume,) = bundled_data.volumes(sources, (case_id,))
        result = segmenter.segment(volume)
        gt = read_labels(sources / f"segmentation-{case_id}.nii.gz")
        pred = result.geometry.to_canonical(result.labels)
        voxel_ml = gt.geometry.voxel_ml
        scores[case_id] = {
            "liver_dice": overlap(pred >= 1, gt.labels >= 1).dice,
            "lesion_dice": overlap(pred == 2, gt.labels == 2).dice,
            "lesion_ml": float((pred == 2).sum() * voxel_ml),
            "lesion_ml_gt": float((gt.labels == 2).sum() * voxel_ml),
        }
    return scores
