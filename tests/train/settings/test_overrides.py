import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from lits_train.cli.train import main
from lits_train.settings.overrides import override, read_toml, to_toml
from lits_train.settings.recipe import BASELINE, DEFAULT, RECIPES, Recipe


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_toml_holds_every_field_and_reads_back(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    settings = read_toml(tmp_path / "recipe.toml")
    assert settings.keys() == recipe.to_json().keys()
    other = RECIPES["baseline" if recipe is DEFAULT else "default"]
    assert override(other, settings) == recipe


def test_words_become_the_field_s_type() -> None:
    changed = override(
        BASELINE,
        {
            "classes": "liver,lesion",
            "thresholds": "0.4,0.6",
            "decoder_channels": "64,32",
            "window_hu": "-100,200",
            "skip_connections": "true",
            "epochs": "3",
            "dice_weight": "1",
            "tta": "",
        },
    )
    assert changed.classes == ("liver", "lesion")
    assert changed.thresholds == (0.4, 0.6)
    assert changed.decoder_channels == (64, 32)
    assert changed.window_hu == (-100.0, 200.0)
    assert changed.skip_connections is True
    assert changed.epochs == 3
    assert isinstance(changed.dice_weight, float)
    assert changed.tta == ()
    assert override(changed, {"window_hu": "none"}).window_hu is None


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("sise", "64", "sise: no such setting; did you mean size?"),
        ("zzz", "64", "zzz: no such setting; settings are name, classes"),
        ("epochs", "2.5", "epochs '2.5': expected a whole number"),
        ("epochs", True, "epochs True: expected a whole number"),
        ("learning_rate", "fast", "expected a number"),
        ("learning_rate", "nan", "learning_rate nan: expected"),
        ("skip_connections", "yes", "expected true or false"),
        ("window_hu", "1", '2 values separated by commas, each a number, or "none"'),
        ("thresholds", 0.5, "values separated by commas"),
        ("name", 5, "name 5: expected text"),
        ("optimizer", "sgd", "one of ('adam', 'adamw')"),
        ("schedule", "linear", "one of ('constant', 'cosine', 'late', 'poly')"),
        ("batch_size", "0", "batch_size 0: expected 1 to"),
        ("lesion_share", "1.5", "lesion_share 1.5: expected 0 to 1"),
        ("ema_decay", "1", "ema_decay 1"),
        ("liver_share", "0.8", "at most 1 together"),
    ],
)
def test_a_bad_setting_is_named_with_what_would_be_right(
    name: str, given: object, said: str
) -> None:
    with pytest.raises(ValueError) as error:
        override(DEFAULT, {name: given})
    assert said in str(error.value)


def shown(*arguments: object) -> dict[str, object]:
    result = CliRunner().invoke(main, ["--show-recipe", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    return tomllib.loads(result.stdout)


def test_command_line_beats_toml_beats_recipe(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text('epochs = 7\nsize = 64\nbatch_size = 8\nschedule = "poly"\n')
    settings = shown(
        *("--recipe", "baseline", "--config", config),
        *("--set", "size=96", "--set", "clip_norm=1", "--epochs", "9"),
    )
    assert settings["epochs"] == 9
    assert settings["size"] == 96
    assert settings["batch_size"] == 8
    assert settings["schedule"] == "poly"
    assert settings["clip_norm"] == 1.0
    assert settings["learning_rate"] == BASELINE.learning_rate


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "size"], "--set size: expected FIELD=VALUE"),
        (["--set", "sise=3"], "did you mean size?"),
        (["--epochs", "none"], "epochs 'none': expected a whole number"),
        (["--config", "{config}"], "bad.toml: not TOML"),
        (["--set", "size=100"], "multiple of 32"),
    ],
)
def test_usage_errors_of_settings(arguments: list[str], said: str, tmp_path: Path) -> None:
    config = tmp_path / "bad.toml"
    config.write_text("epochs 7")
    words = [word.format(config=config) for word in arguments]
    result = CliRunner().invoke(main, ["--show-recipe", *words])
    assert result.exit_code == 2
    assert said in result.stderr


def test_the_baseline_is_accepted_by_its_old_name(tmp_path: Path) -> None:
    (tmp_path / "old.toml").write_text('name = "seed"\n')
    settings = {**BASELINE.to_json(), "name": "seed"}
    assert Recipe.from_json(settings) == BASELINE
    assert shown("--recipe", "seed") == shown("--recipe", "baseline")
    assert shown("--config", tmp_path / "old.toml")["name"] == "baseline"
