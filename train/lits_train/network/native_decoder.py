"""Decoders from elsewhere that are ours under other names."""

import re
from collections.abc import Sequence
from typing import Any

from lits_train.network.segmentation_network import ENCODER_CHANNELS

_STAGE = re.compile(r"up2 (\d+)(, skip)?, conv3 (\d+)(, norm)?, relu, ")
_HEAD = re.compile(r"(conv1|up2) \d+")
_SKIPPED = len(ENCODER_CHANNELS) - 1
"""Stages that have a skip in a network with skips; the fifth has none."""


def native_settings(layers: Sequence[str]) -> dict[str, Any] | None:
    """The recipe's settings of a decoder whose layers are those of our own; None for another.

    >>> native_settings(["up2 16", "conv3 16", "norm", "relu", "conv1 1"])["decoder_channels"]
    (16,)
    """
    text, at, stages = ", ".join(layers), 0, []
    while match := _STAGE.match(text, at):
        stages.append(match)
        at = match.end()
    head = _HEAD.fullmatch(text, at)
    if not stages or head is None or any(stage[1] != stage[3] for stage in stages):
        return None
    skips, norms = ({bool(stage[part]) for stage in some} for part, some in _parts(stages))
    if len(skips) > 1 or len(norms) > 1 or len(stages) > len(ENCODER_CHANNELS):
        return None
    if any(stage[2] for stage in stages[_SKIPPED:]) or (head[1] == "up2" and len(stages) > 4):
        return None
    return {
        "decoder_channels": tuple(int(stage[1]) for stage in stages),
        "skip_connections": skips.pop(),
        "decoder_norm": norms.pop(),
        "subpixel_head": head[1] == "up2",
    }


def _parts(stages: list[re.Match[str]]) -> list[tuple[int, list[re.Match[str]]]]:
    return [(2, stages[:_SKIPPED]), (4, stages)]
