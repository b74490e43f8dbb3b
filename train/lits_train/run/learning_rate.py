"""The learning rate of every step."""

import math

from lits_train.settings.recipe import Recipe

LATE = 0.2
"""Fraction of the run over which "late" falls."""


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of a step: a linear warm-up, then the recipe's schedule.

    "constant", "cosine" (half a cosine down to zero; Loshchilov and Hutter, SGDR, ICLR 2017),
    "late" (constant, then half a cosine; Hägele et al., Scaling Laws and Compute-Optimal Training
    Beyond Fixed Training Durations, NeurIPS 2024) or "poly" ((1 - t) ** 0.9; Isensee et al.,
    nnU-Net, Nature Methods 2021).

    Args:
        recipe: its `learning_rate`, `schedule` and `warmup_steps`.
        step: from 0.
        steps: number of steps in the run.
    """
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(steps - recipe.warmup_steps, 1)
    factors = {
        "constant": 1.0,
        "cosine": 0.5 * (1 + math.cos(math.pi * done)),
        "late": 0.5 * (1 + math.cos(math.pi * max(done - 1 + LATE, 0) / LATE)),
        "poly": math.pow(max(1 - done, 0.0), 0.9),
    }
    return recipe.learning_rate * factors[recipe.schedule]
