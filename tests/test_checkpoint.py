import os
import pickle
from pathlib import Path

import pytest
import torch

from lits_runtime import CheckpointError
from lits_train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lits_train.network import SegmentationNetwork
from lits_train.recipe import SEED

RECIPE = SEED.override(size=32)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pth"
    save_checkpoint(Checkpoint(RECIPE, SegmentationNetwork(RECIPE).state_dict(), {}), path)
    return path


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


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


def test_a_failed_write_keeps_the_old_checkpoint(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = checkpoint.read_bytes()

    def disk_full(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(Checkpoint(RECIPE, {}, {}), checkpoint)
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]
