"""Types and limits of all settings: a value outside them is a mistake or an attack."""

import math
import reprlib
import types
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from lits_runtime.messages import brief


@dataclass(frozen=True)
class Limit:
    """The range of a number, or of each number of a tuple."""

    least: float
    most: float
    reason: str


RECIPE_LIMITS: Mapping[str, Limit] = {
    "thresholds": Limit(1e-6, 1 - 1e-6, "a probability of 0 or 1 has no logit"),
    "size": Limit(32, 608, "the runtime refuses models that need more memory per slice"),
    "context_slices": Limit(0, 1, "the network has three channels"),
    "window_hu": Limit(-65536, 65536, "beyond it, 16 bits hold no HU"),
    "decoder_channels": Limit(1, 1024, "the encoder's widest stage has 440"),
    "dice_weight": Limit(0, 1000, "relative to a cross-entropy of weight 1"),
    "learning_rate": Limit(1e-12, 10, "outside it, steps do nothing or only harm"),
    "weight_decay": Limit(0, 10, "beyond it, the weights vanish"),
    "batch_size": Limit(1, 4096, "all slices of a batch are held in memory"),
    "epochs": Limit(1, 100_000, "at a second each, more than a day"),
    "warmup_steps": Limit(0, 10_000_000, "longer than any run"),
    "ema_decay": Limit(0, 0.9999999, "at 1 the average never moves"),
    "clip_norm": Limit(0, 1e6, "beyond it, nothing is clipped"),
    "focal_gamma": Limit(0, 20, "beyond it, only the worst pixels count"),
    "epoch_slices": Limit(0, 10_000_000, "LiTS has 58,638, and an epoch's order is held in memory"),
    "lesion_share": Limit(0, 1, "a fraction of the slices"),
    "liver_share": Limit(0, 1, "a fraction of the slices"),
    "case_balance": Limit(0, 1, "0 weights by slices, 1 by cases"),
    "rotation_degrees": Limit(0, 180, "in either direction"),
    "zoom": Limit(0, 3, "a relative change: 3 is a quarter to four times the size"),
    "shift": Limit(0, 1, "a fraction of the slice"),
    "elastic": Limit(0, 0.5, "a fraction of the slice"),
    "made_up_neighbours": Limit(0, 1, "a probability"),
    "crop": Limit(0, 608, "no slice is larger"),
    "whole_slices": Limit(0, 1, "a fraction of the run"),
    "neighbour_reach": Limit(1, 16, "slices on either side, all of which are read"),
    "intensity_augmentation": Limit(0, 1, "a probability"),
    "fatty_livers": Limit(0, 1, "a probability"),
    "synthetic_lesions": Limit(0, 1, "a probability"),
}
INFERENCE_LIMITS: Mapping[str, Limit] = {
    "thresholds": RECIPE_LIMITS["thresholds"],
    "min_lesion_ml": Limit(0, 1000, "beyond it, no lesion is left"),
    "min_liver_contact": Limit(0, 1, "a fraction"),
    "search_mm": Limit(0, 1000, "beyond it, no liver is met"),
    "interpolation_mm": Limit(0, 1000, "beyond it, no lesion is met"),
}
RUN_LIMITS: Mapping[str, Limit] = {
    "seed": Limit(0, 2**63 - 1, "torch's generators take 64 bits"),
    "validation_fraction": Limit(1e-6, 1 - 1e-6, "training and validation both need cases"),
    "folds": Limit(0, 10_000, "no data set has more cases"),
    "fold": Limit(0, 10_000, "no data set has more cases"),
    "workers": Limit(0, 256, "each is a process"),
    "checkpoint_minutes": Limit(0, 1e6, "a year is half of it"),
    "validate_every": Limit(1, 1_000_000, "epochs"),
    "full_validation_every": Limit(0, 1_000_000, "epochs"),
    "patience": Limit(0, 1_000_000, "epochs"),
}
MOST_BATCH_PIXELS = 2**28
"""Pixels of a batch: the network's features alone take some 100 bytes each."""
MOST_NAME = 255
"""Characters of a name."""
MOST_PATH = 4096

_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def check_fields(
    settings: Any, limits: Mapping[str, Limit], choices: Mapping[str, Collection[str]]
) -> None:
    """Check every field of a dataclass against its annotated type and its limits.

    Args:
        settings: a dataclass of numbers, text, booleans, paths and tuples of those.
        limits: of the numbers, by field.
        choices: allowed text, by field; of a tuple, its allowed items, each at most once.

    Raises:
        ValueError: a value has the wrong type, is outside its limits, not finite, or not among
            the choices; the message names the field.
    """
    kinds = get_type_hints(type(settings))
    for field in fields(settings):
        name, value = field.name, getattr(settings, field.name)
        if not is_kind(value, kinds[name]):
            raise ValueError(f"{name} {shown(value)}: expected {expected(kinds[name])}")
        values = value if isinstance(value, tuple) else (value,)
        for one in values:
            _check_one(name, one, limits.get(name), choices.get(name))
        if isinstance(value, tuple) and name in choices and len(set(value)) < len(value):
            raise ValueError(f"{name} {shown(value)}: expected each at most once")


def _check_one(name: str, one: Any, limit: Limit | None, choices: Collection[str] | None) -> None:
    if isinstance(one, bool) or one is None:
        return
    if isinstance(one, int | float):
        least, most = (limit.least, limit.most) if limit else (-math.inf, math.inf)
        if not least <= one <= most:  # NaN fails this comparison
            reason = f": {limit.reason}" if limit else ""
            raise ValueError(f"{name} {shown(one)}: expected {least:g} to {most:g}{reason}")
    elif choices is not None and one not in choices:
        raise ValueError(f"{name} {shown(one)}: expected one of {tuple(choices)}")
    elif isinstance(one, str):
        longest = MOST_PATH if name == "weights" else MOST_NAME
        if not (one.strip() and one.isprintable() and len(one) <= longest):
            raise ValueError(f"{name} {shown(one)}: expected 1 to {longest} printable characters")


def is_kind(value: object, kind: Any) -> bool:
    """Whether a value has an annotated type; True is not a number, and 1 is a float, too."""
    if get_origin(kind) is types.UnionType:
        return any(is_kind(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple):
            return False
        one, *others = get_args(kind)
        lengths = {1 + len(others)} if ... not in others else {len(value)}
        return len(value) in lengths and all(is_kind(item, one) for item in value)
    if kind is float:
        return type(value) in (int, float)
    if kind in (int, bool, str):
        return type(value) is kind
    return isinstance(value, kind)


def expected(kind: Any) -> str:
    """What a field of an annotated type accepts, in words."""
    if get_origin(kind) is types.UnionType:
        return f'{expected(get_args(kind)[0])}, or "none"'
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        count = "values" if ... in kinds else f"{len(kinds)} values"
        return f"{count} separated by commas, each {_EXPECTED[kinds[0]]}"
    return "a path" if kind is Path else _EXPECTED[kind]


def shown(value: object) -> str:
    """A value as messages quote it, truncated: a forged one may be endless."""
    return brief(value if type(value) in (int, float, bool) and _short(value) else _repr(value))


def _short(value: object) -> bool:
    return not isinstance(value, int) or abs(value) < 10**30


def _repr(value: object) -> str:
    return "a number of many digits" if isinstance(value, int) else _REPR.repr(value)


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 120
