"""A run's networks judged at full resolution, and what was chosen written to its checkpoint."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from torch import nn

from lits_runtime.files.atomic import atomic_path
from lits_train.data.cases import Case
from lits_train.network.checkpoint import (
    BEST_NAME,
    load_checkpoint,
    save_checkpoint,
)
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.network.slab_segmenter import SlabSegmenter
from lits_train.run.state import TrainingState
from lits_train.settings.run import FULL_VALIDATION_NAME
from lits_train.validation.full_resolution import (
    FullScores,
    score_interpolation,
    validate_fully,
)
from lits_train.validation.interpolation import choose_interpolation
from lits_train.validation.labeller import NetworkLabeller
from lits_train.validation.tables import interpolation_table

logger = logging.getLogger(__name__)


def judge(
    state: TrainingState,
    network: nn.Module,
    cases: Sequence[Case],
    stop_requested: Callable[[], bool],
) -> FullScores | None:
    """Scores of a network on cases at full resolution; None if a stop was requested."""
    scores = validate_fully(
        _labeller(state, network), cases, _folder(state), state.world, stop_requested
    )
    if scores and state.world.leads:
        logger.info("at full resolution:%s", scores.text())
    return scores


def _folder(state: TrainingState) -> Path:
    return state.run.folder / "full_validation"


def _labeller(state: TrainingState, network: nn.Module) -> NetworkLabeller:
    state.world.share_buffers(network)
    segmenter = SlabSegmenter(state.recipe, cast(SegmentationNetwork, network))
    return NetworkLabeller(segmenter.eval().to(state.world.device))


def judge_best(
    state: TrainingState, cases: Sequence[Case], stop_requested: Callable[[], bool]
) -> FullScores | None:
    """Judge the weights of the best epoch, and write what was chosen to their checkpoint."""
    path = state.run.folder / BEST_NAME
    with state.world.failing_together():
        best = load_checkpoint(path)
        network = best.network()
    scores = judge(state, network, cases, stop_requested)
    if scores is None:
        return None
    interpolated = score_interpolation(
        _labeller(state, network),
        cases,
        scores.inference,
        _folder(state) / "interpolation",
        state.world,
        stop_requested,
    )
    if interpolated is None:
        return None
    if interpolated and state.world.leads:
        logger.info("slices between interpolated:%s", interpolation_table(interpolated))
    distance_mm = choose_interpolation(interpolated)
    scores = replace(scores, inference=replace(scores.inference, interpolation_mm=distance_mm))
    with state.world.failing_together():
        if state.world.leads:
            facts = scores.to_json()
            inference = facts.pop("inference")
            training = {**best.training, "full_validation": facts}
            save_checkpoint(replace(best, training=training, inference=scores.inference), path)
            listed = {**facts, "inference": inference, "scores": scores.by_case()}
            with atomic_path(state.run.folder / FULL_VALIDATION_NAME) as temporary:
                temporary.write_text(json.dumps(listed, indent=1) + "\n")
    return scores
