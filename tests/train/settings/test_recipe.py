import pytest

from lits_runtime import CheckpointError
from lits_train.settings.recipe import BASELINE, RECIPES, Recipe


def test_recipes_survive_json_and_refuse_other_keys() -> None:
    for recipe in RECIPES.values():
        assert Recipe.from_json(recipe.to_json()) == recipe
    settings = BASELINE.to_json()
    del settings["size"]
    with pytest.raises(CheckpointError, match="lacks \\['size'\\] and has unknown \\['sise'\\]"):
        Recipe.from_json({**settings, "sise": 128})


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 100},
        {"context_slices": 3},
        {"classes": ("spleen",)},
        {"thresholds": (0.5, 0.5)},
        {"decoder_channels": ()},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(settings)))[:8]):
        BASELINE.override(**settings)
