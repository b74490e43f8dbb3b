"""Nonsense in settings of every kind and from every side: all of it refused, by name."""

import json
import math
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from lits_runtime import CheckpointError, DatasetError, TrainingError
from lits_train.cli.train import main
from lits_train.data.cases import Case
from lits_train.data.cases_json import read_statements
from lits_train.given_files import read_json, strict_json
from lits_train.limits import RECIPE_LIMITS, RUN_LIMITS
from lits_train.prepared.index_content import INDEX_NAME
from lits_train.prepared.slices import open_cases
from lits_train.prepared.write_case import write_case
from lits_train.run.readiness import check_device
from lits_train.settings.overrides import override, read_toml
from lits_train.settings.recipe import DEFAULT, RECIPES, Recipe
from lits_train.settings.run import RunSettings

HUGE = 10**400
NONSENSE: list[tuple[str, Any]] = [
    ("name", ""),
    ("name", "  "),
    ("name", "a\x1b[2J"),
    ("name", "x" * 10_000),
    ("name", 7),
    ("classes", ()),
    ("classes", ("liver", "liver")),
    ("classes", ("lesion", "liver")),
    ("classes", ("spleen",)),
    ("classes", "liver"),
    ("classes", (1, 2)),
    ("thresholds", ()),
    ("thresholds", (0.5,)),
    ("thresholds", (1.5, 0.5)),
    ("thresholds", (0.0, 0.5)),
    ("thresholds", (1.0, 0.5)),
    ("thresholds", (math.nan, 0.5)),
    ("thresholds", (-0.5, 0.5)),
    ("thresholds", (True, 0.5)),
    ("thresholds", ("0.5", 0.5)),
    ("size", 0),
    ("size", 10**9),
    ("size", 100),
    ("size", -32),
    ("size", 256.0),
    ("size", True),
    ("size", "256"),
    ("size", HUGE),
    ("context_slices", 2),
    ("context_slices", True),
    ("context_slices", -1),
    ("window_hu", "x"),
    ("window_hu", (200.0, -100.0)),
    ("window_hu", (50.0, 50.0)),
    ("window_hu", (0.0, 0.5)),
    ("window_hu", (0.0,)),
    ("window_hu", ()),
    ("window_hu", (-math.inf, math.inf)),
    ("window_hu", (0.0, math.nan)),
    ("window_hu", (0.0, 1e9)),
    ("window_hu", (0.0, HUGE)),
    ("decoder_channels", ()),
    ("decoder_channels", (0, 0)),
    ("decoder_channels", (-8,)),
    ("decoder_channels", (10**9,)),
    ("decoder_channels", (8,) * 6),
    ("decoder_channels", (8.5,)),
    ("decoder_channels", 8),
    ("skip_connections", 1),
    ("skip_connections", "true"),
    ("decoder_norm", None),
    ("dice_weight", -1.0),
    ("dice_weight", math.inf),
    ("optimizer", "sgd"),
    ("optimizer", " adam"),
    ("optimizer", None),
    ("learning_rate", math.inf),
    ("learning_rate", math.nan),
    ("learning_rate", 0.0),
    ("learning_rate", -1e-3),
    ("learning_rate", 1e6),
    ("learning_rate", "fast"),
    ("weight_decay", -0.1),
    ("weight_decay", 1e3),
    ("schedule", "step"),
    ("batch_size", 0),
    ("batch_size", 10**9),
    ("batch_size", 2.0),
    ("epochs", 0),
    ("epochs", 10**12),
    ("epochs", HUGE),
    ("warmup_steps", -1),
    ("warmup_steps", 0.5),
    ("ema_decay", 1.0),
    ("ema_decay", 1.5),
    ("clip_norm", math.nan),
    ("clip_norm", -5.0),
    ("focal_gamma", 1e9),
    ("epoch_slices", 10**12),
    ("epoch_slices", -4),
    ("lesion_share", 1.5),
    ("liver_share", 0.9),
    ("rotation_degrees", -15.0),
    ("rotation_degrees", 1e6),
    ("zoom", math.inf),
    ("zoom", -0.5),
    ("shift", 7.0),
    ("elastic", 100.0),
    ("intensity_augmentation", 1.1),
    ("fatty_livers", -0.1),
    ("synthetic_lesions", math.nan),
    ("tta", ("flip_left",)),
    ("tta", ("flip_slices", "flip_slices")),
    ("tta", "flip_slices"),
    ("tta", [["flip_slices"]]),
]
WORDS = [
    *("size=2_56", "size=0x100", "size=1e3", "epochs=٣", "epochs=", "epochs=3 4", "epochs=none"),
    *("classes=liver,,lesion", "classes=liver, ", "classes=liver lesion", "classes="),
    *("window_hu=200,-100", "window_hu=0", "window_hu=0,1,2", "window_hu=none,none"),
    *("thresholds=1.5,0.5", "thresholds=0.5;0.5", "decoder_channels=0,0", "tta=flip_left"),
    *("learning_rate=inf", "learning_rate=1e", "learning_rate=1e999", "learning_rate=--1"),
    *("skip_connections=maybe", "skip_connections=1", "=3", "epochs=1;import os", "zoom=nan"),
    f"epochs={'9' * 5000}",
]


@pytest.mark.parametrize(("name", "value"), NONSENSE)
def test_nonsense_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError) as error:
        DEFAULT.override(**{name: value}) if value is not None else Recipe(
            **{**vars(DEFAULT), name: value}
        )
    assert name in str(error.value)
    assert len(str(error.value)) < 700
    plain = list(value) if isinstance(value, tuple) else value
    with pytest.raises(CheckpointError, match=f"recipe is not usable.*{name}"):
        Recipe.from_json(DEFAULT.to_json() | {name: plain})


@pytest.mark.parametrize("words", WORDS)
def test_nonsense_in_words_is_a_usage_error_of_one_line(words: str) -> None:
    result = CliRunner().invoke(main, ["--show-recipe", "--set", words])
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert len(result.stderr) < 1500


def test_every_number_has_a_limit_and_every_recipe_keeps_it() -> None:
    numbers = {
        field.name
        for field in fields(Recipe)
        if "int" in str(field.type) or "float" in str(field.type)
    }
    assert numbers == set(RECIPE_LIMITS)
    for recipe in RECIPES.values():
        assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
        assert override(recipe, {}) == recipe
    assert all(limit.reason and limit.least < limit.most for limit in RECIPE_LIMITS.values())
    assert set(RUN_LIMITS) < {field.name for field in fields(RunSettings)}


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000,
        "a = " + "[" * 5000 + "]" * 5000,
        'epochs = "3"',
        "epochs = 3.0",
        "epochs = true",
        "epochs = 3\nepochs = 4",
        "learning_rate = inf",
        "learning_rate = nan",
        "[recipe]\nepochs = 3",
        "epochs = {a = 1}",
        "epochs = 2024-01-01",
        "window_hu = [0, [1]]",
        'window_hu = "0,250"',
        "sise = 3",
        "\x00\x01",
        "\ufeffepochs = 3",
        "epochs = " + "9" * 6000,
        "#" * 2**21,
    ],
)
def test_hostile_toml_is_a_usage_error_of_one_line(text: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    result = CliRunner().invoke(main, ["--show-recipe", "--config", str(config)])
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert len(result.stderr) < 1500


def test_toml_that_is_binary_or_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="not TOML"):
        read_toml(tmp_path / "binary")
    with pytest.raises(ValueError, match="a folder, expected a regular file"):
        read_toml(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ValueError, match="a named pipe"):
            read_toml(tmp_path / "pipe")


JSON_NONSENSE = [
    "",
    "[" * 100_000,
    '{"a": 1, "a": 2}',
    '{"liver_only": NaN}',
    '{"spacing_mm": {"1": [1e999, 1, 1]}}',
    "9" * 5000,
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    "[1] [2]",
]


@pytest.mark.parametrize("text", JSON_NONSENSE)
def test_json_that_could_be_read_two_ways_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=r"file\.json: not valid JSON"):
        read_json(path, 2**20, DatasetError)
    with pytest.raises(DatasetError, match="larger than 3 bytes"):
        path.write_text("[0, 0]")
        read_json(path, 3, DatasetError)
    assert strict_json('{"a": [1.5, null]}') == {"a": [1.5, None]}


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"liver": ["1"]},
        {"liver_only": "1"},
        {"liver_only": [[1]]},
        {"liver_only": [True]},
        {"liver_only": {"1": 1}},
        {"liver_only": ["9"]},
        {"spacing_mm": [1]},
        {"spacing_mm": {"1": [1, 1]}},
        {"spacing_mm": {"1": [1, 1, -1]}},
        {"spacing_mm": {"1": [1, 1, 0]}},
        {"spacing_mm": {"1": [True, 1, 1]}},
        {"spacing_mm": {"1": ["1", 1, 1]}},
        {"spacing_mm": {"1": [1, 1, HUGE]}},
        {"spacing_mm": {"1": [1, 1, 1e6]}},
        {"spacing_mm": {"1": "111"}},
        {"spacing_mm": {"1": None}},
    ],
)
def test_statements_of_another_form_are_refused(content: Any, tmp_path: Path) -> None:
    (tmp_path / "cases.json").write_text(json.dumps(content).replace(str(HUGE), "1" + "0" * 400))
    with pytest.raises(DatasetError, match=r"cases\.json: (expected|names cases)"):
        read_statements(tmp_path, ["1"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slices", 3),
        ("slices", "2"),
        ("slices", 10**12),
        ("spacing_mm", [1, 1]),
        ("spacing_mm", [1, 1, 0]),
        ("spacing_mm", None),
        ("liver_only", 1),
        ("adjacent", "yes"),
        ("label_counts", [[1, 2]]),
        ("label_counts", [[1, 2, -3], [1, 2, 3]]),
        ("label_counts", [[1, 2, 3], [1, 2]]),
        ("label_counts", [[1.5, 2, 3], [1, 2, 3]]),
        ("label_counts", "many"),
        ("range_hu", [[0, 1]]),
        ("range_hu", [["a", "b"], ["c", "d"]]),
        ("inputs", 3),
        ("notes", "one"),
        ("wings", 2),
    ],
)
def test_an_index_that_does_not_fit_is_refused(name: str, value: Any, tmp_path: Path) -> None:
    zeros = torch.zeros(2, 32, 32).numpy()
    write_case(tmp_path, "1", zeros, zeros, spacing_mm=(1.0, 1.0, 1.0))
    index = tmp_path / INDEX_NAME
    content = json.loads(index.read_text())
    assert len(open_cases(tmp_path)) == 1
    content["cases"]["1"][name] = value
    index.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"index\.json: not the index of prepared data"):
        open_cases(tmp_path)
    content["cases"] = {"../1": content["cases"].pop("1")}
    index.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="file name may have"):
        open_cases(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("seed", 2**64),
        ("seed", True),
        ("validation_fraction", math.nan),
        ("validation_fraction", 1.0),
        ("folds", 1),
        ("fold", 3),
        ("workers", -1),
        ("workers", 10**6),
        ("checkpoint_minutes", math.inf),
        ("checkpoint_minutes", math.nan),
        ("validate_every", 0),
        ("patience", -1),
        ("precision", "fp8"),
        ("precision", "fp16"),
        ("device", "tpu"),
        ("device", "cuda:"),
        ("device", "cuda:-1"),
        ("device", "cpu\n"),
        ("device", "meta"),
        ("device", ""),
        ("weights", ""),
        ("weights", 3),
        ("folder", "run"),
        ("validation_cases", "44"),
        ("validation_cases", [44]),
        ("allow_changed", True),
    ],
)
def test_runs_that_cannot_be_are_refused(name: str, value: Any, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"folder": tmp_path, name: value}
    with pytest.raises(ValueError, match=name):
        RunSettings(**settings)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--device", "tpu"], 2, "expected cpu, cuda, cuda:N"),
        (["--device", "cuda:99"], 1, "device cuda:99"),
        (["--device", "mps"], 1, "device mps"),
        (["--precision", "fp8"], 2, "--precision"),
        (["--precision", "fp16", "--device", "cpu"], 2, "fp16 needs CUDA"),
        (["--set", "decoder_channels=0,0"], 2, "decoder_channels 0"),
        (["--validation-fraction", "nan"], 2, "validation_fraction nan"),
        (["--checkpoint-minutes", "inf"], 2, "checkpoint_minutes inf"),
        (["--allow-changed"], 2, "needs resume"),
        (["--weights", "{tmp}/none.pth"], 1, "none.pth"),
        (["--weights", "{tmp}"], 1, "a folder, expected a regular file"),
        (["-o", "{tmp}/file/run"], 1, "file"),
        (["--resume"], 1, "start without --resume"),
    ],
)
def test_what_is_refused_cheaply_is_refused_before_data_are_read(
    arguments: list[str], status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "data").mkdir()
    for kind in ("volume", "segmentation"):
        (tmp_path / f"data/{kind}-1.nii").write_bytes(b"no scan, and nobody should look")
    words = [word.format(tmp=tmp_path) for word in arguments]
    common = [str(tmp_path / "data"), "-o", str(tmp_path / "run"), "--weights", "none"]
    result = CliRunner().invoke(main, [*common, *words])
    assert result.exit_code == status, result.output
    assert isinstance(result.exception, SystemExit)
    assert said in result.stderr
    assert "no scan" not in result.stderr
    assert "not a readable NIfTI" not in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "variables",
    [
        {"WORLD_SIZE": "two", "RANK": "0"},
        {"WORLD_SIZE": "2"},
        {"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"},
        {"WORLD_SIZE": "2", "RANK": "0"},
        {"WORLD_SIZE": "-1", "RANK": "0"},
    ],
)
def test_a_broken_torchrun_environment_is_one_line(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(main, [str(tmp_path), "-o", str(tmp_path / "run")])
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert "WORLD_SIZE" in result.stderr
    assert result.stderr.count("\n") == 1


def test_shared_memory_that_is_too_small_is_said_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker gives 64 MB."""
    from lits_train.training.loop import train

    monkeypatch.setattr("lits_train.run.run_data.shared_memory_free", lambda: 64 * 2**20)
    recipe = DEFAULT.override(size=512)
    cases = [Case("1", tmp_path / "volume-1.nii", tmp_path / "segmentation-1.nii")]
    with pytest.raises(TrainingError, match=r"/dev/shm has 67\.1 MB free, .* --workers; 0 needs"):
        train(cases, recipe, RunSettings(tmp_path / "run", workers=4))


def test_a_device_that_is_there_passes() -> None:
    check_device("cpu")
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match="no usable GPU"):
            check_device("cuda")
