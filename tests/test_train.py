import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torchvision.models import RegNet_Y_400MF_Weights, regnet_y_400mf

from lits_runtime import CheckpointError, DatasetError
from lits_train.cases import find_cases
from lits_train.checkpoint import BEST_NAME, LAST_NAME, load_checkpoint
from lits_train.cli import main
from lits_train.loop import train
from lits_train.network import SegmentationNetwork
from lits_train.recipe import DEFAULT, RECIPES, SEED, Recipe
from lits_train.run import RunSettings

SMALL = {"size": 32, "batch_size": 4, "epochs": 2}


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).state_dict


def assert_same_weights(one: Path, other: Path) -> None:
    mine, theirs = weights_of(one), weights_of(other)
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert torch.equal(mine[name], theirs[name]), name


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_run_leaves_best_last_and_metrics(
    recipe: Recipe, phantom_folder: Path, tmp_path: Path
) -> None:
    recipe = recipe.override(**SMALL)
    result = train(find_cases(phantom_folder), recipe, RunSettings(tmp_path / "run"))
    assert result.checkpoint == tmp_path / "run" / BEST_NAME
    assert result.epochs == 2
    best, last = load_checkpoint(result.checkpoint), load_checkpoint(tmp_path / "run" / LAST_NAME)
    assert best.recipe == recipe
    assert not best.resume
    assert last.training["epochs"] == 2
    assert {*best.training["cases"], *best.training["validation_cases"]} == {"0", "1", "2"}
    assert best.network()(torch.rand(1, 3, 32, 32)).shape[1] == len(recipe.classes)
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert set(lines[0]["validation_dice"]) == set(recipe.classes)
    assert not list((tmp_path / "run").glob(".partial*"))


def test_the_loss_falls(phantom_folder: Path, tmp_path: Path) -> None:
    recipe = DEFAULT.override(size=64, batch_size=4, epochs=8, learning_rate=1e-2)
    train(find_cases(phantom_folder), recipe, RunSettings(tmp_path))
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.75 * lines[0]["loss"]


def test_ctrl_c_keeps_the_last_epoch_and_resume_continues_exactly(
    phantom_folder: Path, tmp_path: Path
) -> None:
    options = ["--recipe", "default", "--weights", "none", "--size", "32", "--batch-size", "4"]
    program = "from lits_train.cli import main; main(prog_name='lits-train')"
    command = [sys.executable, "-c", program, str(phantom_folder), *options, "--epochs", "5"]
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    process = subprocess.Popen(
        [*command, "-o", str(broken)],
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs with SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (broken / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert 1 <= load_checkpoint(broken / LAST_NAME).training["epochs"] < 5
    for run, extra in ((straight, []), (broken, ["--resume"])):
        done = subprocess.run([*command, "-o", str(run), *extra], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert_same_weights(straight / LAST_NAME, broken / LAST_NAME)
    epochs = [json.loads(x)["epoch"] for x in (broken / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3, 4, 5]


def test_resume_refuses_other_settings_data_and_nothing_to_resume(
    phantom_folder: Path, tmp_path: Path
) -> None:
    cases = find_cases(phantom_folder)
    recipe = SEED.override(**{**SMALL, "epochs": 1})
    with pytest.raises(CheckpointError, match="leave --resume"):
        train(cases, recipe, RunSettings(tmp_path, resume=True))
    train(cases, recipe, RunSettings(tmp_path))
    with pytest.raises(CheckpointError, match="go on with --resume"):
        train(cases, recipe, RunSettings(tmp_path))
    with pytest.raises(CheckpointError, match="other settings"):
        train(cases, recipe.override(learning_rate=1.0), RunSettings(tmp_path, resume=True))
    with pytest.raises(DatasetError, match="data_fingerprint"):
        train(cases[:2], recipe, RunSettings(tmp_path, resume=True))
    assert train(cases, recipe.override(epochs=2), RunSettings(tmp_path, resume=True)).epochs == 2


def test_command_skips_bad_cases_and_ends_by_listing_them(
    phantom_folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in phantom_folder.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    broken = data / "volume-1.nii"
    broken.write_bytes(broken.read_bytes()[:5000])
    arguments = [str(data), "-o", str(tmp_path / "run"), "--recipe", "seed", "--epochs", "1"]
    arguments += ["--size", "32", "--weights", "none", "--device", "cpu", "--bf16"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines()[-1].startswith("skipped case 1: ")
    assert "truncated" in result.stderr.splitlines()[-1]
    assert result.stdout == ""


def test_usage_and_data_errors_of_the_command(tmp_path: Path) -> None:
    arguments = [str(tmp_path), "-o", str(tmp_path / "run"), "--weights", "none"]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "no pair" in result.stderr
    result = CliRunner().invoke(main, [*arguments, "--size", "100"])
    assert result.exit_code == 2
    assert "multiple of 32" in result.stderr


def test_imagenet_weights_come_from_torch_s_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    pretrained = regnet_y_400mf()
    cached = tmp_path / "hub/checkpoints" / Path(RegNet_Y_400MF_Weights.DEFAULT.url).name
    cached.parent.mkdir(parents=True)
    torch.save(pretrained.state_dict(), cached)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    network = SegmentationNetwork(SEED)
    network.load_encoder("imagenet")
    loaded = network.encoder.state_dict()
    assert torch.equal(loaded["0.0.weight"], pretrained.stem[0].weight)
    by_file = SegmentationNetwork(DEFAULT)
    by_file.load_encoder(str(cached))
    assert all(
        torch.equal(loaded[key], value) for key, value in by_file.encoder.state_dict().items()
    )


def test_no_network_names_the_file_and_the_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    with pytest.raises(CheckpointError) as error:
        SegmentationNetwork(SEED).load_encoder("imagenet")
    assert str(tmp_path / "hub/checkpoints/regnet_y_400mf-") in str(error.value)
    assert "--weights none" in str(error.value)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not weights of RegNetY-400MF"):
        SegmentationNetwork(SEED).load_encoder(str(tmp_path / "other.pth"))
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(CheckpointError, match="no file of weights"):
        SegmentationNetwork(SEED).load_encoder(str(tmp_path / "text.pth"))
