"""Runs and model files judged at full resolution on cases that were left out of training."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from lits_runtime.cleanup.clean_up import cleaned_up
from lits_runtime.segment.segmenter import Segmenter
from lits_runtime.segment.slabs.liver_search import searched
from lits_train.data.cases import Case, find_cases
from lits_train.network.checkpoint import LAST_NAME, load_checkpoint
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.network.slab_segmenter import SlabSegmenter
from lits_train.run.distributed import World
from lits_train.settings.inference import Inference
from lits_train.settings.recipe import Recipe
from lits_train.validation.case_scores import CaseScores
from lits_train.validation.full_resolution import (
    FullScores,
    score_interpolation,
    validate_fully,
)
from lits_train.validation.interpolation import CaseLabels
from lits_train.validation.labeller import Labeller, NetworkLabeller
from lits_train.validation.volumes import PairVolume

logger = logging.getLogger(__name__)

FOLDER = "left_out"
"""In a run: one file for each case that was scored."""


class ModelLabeller:
    """A model file in the runtime."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter, facts = segmenter, segmenter.metadata
        self.classes, self.thresholds = facts.classes, facts.thresholds
        self.context_slices = facts.context_slices

    def probability(self, slab_hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Labeller`."""
        return self._segmenter.probability(slab_hu)

    def digest(self) -> str:
        """See `Labeller`."""
        facts = self._segmenter.metadata
        return f"{facts.checkpoint_sha256} {facts.precision}"


def labeller_of(model: Path, device: str = "cpu") -> Labeller:
    """What labels with a model file, or with the network of a run's last step.

    Not that of its best epoch: most validation cases of a trial are single slices without marked
    lesions.
    """
    if model.suffix == ".onnx":
        return ModelLabeller(Segmenter.open(model, provider="cpu"))
    checkpoint = load_checkpoint(model / LAST_NAME if model.is_dir() else model)
    segmenter = SlabSegmenter(checkpoint.recipe, checkpoint.network()).eval()
    return NetworkLabeller(segmenter.to(torch.device(device)))


def score(
    labeller: Labeller, sources: Path, case_ids: Sequence[str], folder: Path
) -> FullScores | None:
    """Scores on those of the cases that lie in `sources`; kept in `folder`, case by case."""
    world = World(torch.device("cpu"))
    return validate_fully(labeller, pairs(sources, case_ids), folder, world)


def interpolation(
    labeller: Labeller,
    sources: Path,
    case_ids: Sequence[str],
    run: Path,
    inference: Inference,
) -> Sequence[CaseScores]:
    """Scores for `choose_interpolation` on those of the cases that it may change."""
    folder, world = run / FOLDER / "interpolation", World(torch.device("cpu"))
    cases = pairs(sources, case_ids)
    return score_interpolation(labeller, cases, inference, folder, world) or ()


def pairs(sources: Path, case_ids: Sequence[str]) -> list[Case]:
    """The pairs of cases in a folder."""
    return [case for case in find_cases(sources) if case.case_id in set(case_ids)]


def segmented(
    labeller: Labeller, sources: Path, case_id: str, inference: Inference
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]:
    """HU, reference and predicted labels (slices, height, width) of a case."""
    volume = PairVolume(pairs(sources, [case_id])[0])
    geometry, context = volume.geometry, labeller.context_slices
    shape = geometry.canonical_shape
    hu, starts = np.zeros(shape, np.float32), []
    labels, labels_gt = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    distance_mm, thresholds = inference.interpolation_mm, inference.thresholds
    between = CaseLabels(geometry, distance_mm, labeller.classes, thresholds)
    for start, slab_hu in volume.slabs(context):
        own = slab_hu[context : len(slab_hu) - context]
        hu[start : start + len(own)] = own
        for first, part in between.add(start, labeller.probability(slab_hu)):
            labels[first : first + len(part)] = part
        starts.append(start)
    left = searched(labels, geometry, inference.search_mm)
    slabs = cleaned_up([(0, left)], geometry, inference.postprocessing)
    ((_, labels),) = slabs
    for start, marked in zip(starts, volume.labels(), strict=True):
        labels_gt[start : start + len(marked)] = marked
    return hu, labels_gt, labels


def gmac(recipe: Recipe) -> float:
    """Multiply-accumulate operations of a recipe's network for one slice, in billions."""
    network = SegmentationNetwork(recipe).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, recipe.size, recipe.size))
    return float(counter.get_total_flops()) / 2e9
