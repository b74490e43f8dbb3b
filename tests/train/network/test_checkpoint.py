import hashlib
import json
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.torch_version import TorchVersion

from lits_runtime import CheckpointError
from lits_train.network.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.settings.inference import Inference
from lits_train.settings.recipe import BASELINE, DEFAULT
from support.files.full_disk import largest_file
from support.hostile.checkpoints import Payload

RECIPE = BASELINE.override(size=32)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pth"
    save_checkpoint(Checkpoint(RECIPE, SegmentationNetwork(RECIPE).state_dict(), {}), path)
    return path


def bare_forms(state: dict[str, torch.Tensor], folder: Path) -> dict[str, Path]:
    """The ways in which others save the same weights."""
    contents: dict[str, object] = {
        "bare": state,
        "of DataParallel": {f"module.{name}": tensor for name, tensor in state.items()},
        "compiled": {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
        "both": {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
        "wrapped": {"state_dict": state, "epoch": 3},
        "of a script": {"model_state_dict": OrderedDict(state), "optimizer": {"step": 1}},
    }
    paths = {name: folder / f"{name}.pth" for name in contents}
    for name, content in contents.items():
        torch.save(content, paths[name])
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, folder / "bare.safetensors")
    return paths | {"old": folder / "old.pth", "safe": folder / "bare.safetensors"}


@pytest.mark.slow
def test_bare_weights_of_the_baseline_are_accepted(tmp_path: Path) -> None:
    state = SegmentationNetwork(BASELINE).state_dict()
    for name, path in bare_forms(state, tmp_path).items():
        loaded = load_checkpoint(path)
        assert loaded.recipe == BASELINE, name
        found = loaded.state_dict
        assert all(torch.equal(found[key], tensor) for key, tensor in state.items()), name
        assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_was_chosen_survives_and_its_thresholds_are_used(tmp_path: Path) -> None:
    inference = Inference((0.3,), min_lesion_ml=0.2, search_mm=0.0)
    state = SegmentationNetwork(RECIPE).state_dict()
    path = tmp_path / "chosen.pth"
    save_checkpoint(Checkpoint(RECIPE, state, {}, inference=inference), path)
    loaded = load_checkpoint(path)
    assert loaded.inference == inference
    assert loaded.recipe == RECIPE
    assert loaded.as_used().recipe == RECIPE.override(thresholds=(0.3,))
    save_checkpoint(Checkpoint(RECIPE, state, {}), path)
    plain = load_checkpoint(path)
    assert plain.inference is None and plain.as_used() is plain


@pytest.mark.parametrize(
    "chosen",
    [
        [1],
        {"thresholds": [0.5, 0.5], "postprocessing": {}, "search_mm": 0.0},
        {"thresholds": [0.5], "postprocessing": {"min_lesion_ml": -1.0}, "search_mm": 0.0},
        {"thresholds": [0.5], "postprocessing": {"dilate": True}, "search_mm": 0.0},
        {"thresholds": [0.5], "postprocessing": {}, "search_mm": float("nan")},
        {"thresholds": 3, "postprocessing": {}, "search_mm": 0.0},
    ],
)
def test_damaged_settings_of_inference_are_refused(chosen: object, tmp_path: Path) -> None:
    path = tmp_path / "damaged.pth"
    state = SegmentationNetwork(RECIPE).state_dict()
    torch.save({"recipe": RECIPE.to_json(), "state_dict": state, "inference": chosen}, path)
    with pytest.raises(CheckpointError, match=r"damaged\.pth: damaged, its settings of inference"):
        load_checkpoint(path)


def test_safetensors_may_carry_their_recipe(tmp_path: Path) -> None:
    recipe = DEFAULT.override(size=64)
    state = SegmentationNetwork(recipe).state_dict()
    facts = {"recipe": json.dumps(recipe.to_json()), "training": json.dumps({"epochs": 7})}
    save_file(state, tmp_path / "model.safetensors", facts)
    loaded = load_checkpoint(tmp_path / "model.safetensors")
    assert loaded.recipe == recipe
    assert loaded.training == {"epochs": 7}
    assert torch.equal(loaded.state_dict["head.weight"], state["head.weight"])


@pytest.mark.slow
def test_an_encoder_starts_from_any_of_these_files(checkpoint: Path, tmp_path: Path) -> None:
    source = SegmentationNetwork(BASELINE)
    forms = bare_forms(source.state_dict(), tmp_path)
    for path in (checkpoint, forms["both"], forms["safe"]):
        network = SegmentationNetwork(DEFAULT)
        network.load_encoder(str(path))
        started = network.encoder.state_dict()
        expected = load_checkpoint(path).network().encoder.state_dict()
        assert all(torch.equal(started[key], tensor) for key, tensor in expected.items()), path


def test_an_old_torch_is_not_trusted_with_pickles(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = SegmentationNetwork(BASELINE).state_dict()
    save_file(state, tmp_path / "bare.safetensors")
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.9.1+cu128"))
    with pytest.raises(CheckpointError, match=r"torch 2\.9\.1.*CVE-2026-24747.*torch>=2\.10"):
        load_checkpoint(checkpoint)
    assert load_checkpoint(tmp_path / "bare.safetensors").recipe == BASELINE


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    target = tmp_path / "owned"
    torch.save({"recipe": RECIPE.to_json(), "state_dict": Payload(target)}, tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Payload(target)))
    for name in ("evil.pth", "plain.pth"):
        with pytest.raises(CheckpointError, match="refused"):
            load_checkpoint(tmp_path / name)
    assert not target.exists()


def test_damaged_and_foreign_files_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    content = checkpoint.read_bytes()
    files = {
        "empty": b"",
        "text": b"no checkpoint",
        "truncated": content[: len(content) // 2],
    }
    for name, damaged in files.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(CheckpointError, match=name):
            load_checkpoint(tmp_path / name)
    torch.save({"model": 1}, tmp_path / "foreign.pth")
    with pytest.raises(CheckpointError, match="expected a checkpoint of lits-train"):
        load_checkpoint(tmp_path / "foreign.pth")


def test_weights_of_another_architecture_are_refused(checkpoint: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    state = dict(loaded.state_dict)
    state["head.bias"] = torch.zeros(5)
    with pytest.raises(CheckpointError, match="do not fit"):
        Checkpoint(RECIPE, state, {}).network()


def test_a_newer_format_is_refused(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    torch.save(content | {"format_version": 99}, checkpoint)
    with pytest.raises(CheckpointError, match="format 99"):
        load_checkpoint(checkpoint)


def test_a_failed_write_keeps_the_old_checkpoint(checkpoint: Path) -> None:
    before = checkpoint.read_bytes()
    state_dict = SegmentationNetwork(RECIPE).state_dict()
    with largest_file(2**20), pytest.raises(OSError, match=f"cannot write.*{checkpoint}"):
        save_checkpoint(Checkpoint(RECIPE, state_dict, {}), checkpoint)
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]
