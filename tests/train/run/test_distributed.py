"""Two processes of the real torchrun against one, on the CPU."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from lits_train.cli.train import main
from lits_train.network.checkpoint import LAST_NAME, load_checkpoint
from lits_train.settings.recipe import RECIPES
from support.scans import load_nifti

pytestmark = pytest.mark.slow

GRADIENT_TOLERANCE = 1e-6
"""Relative; the network computes in float64 and the loss in float32."""
LOSS_TOLERANCE = 5e-4
"""Relative, over a few steps: Adam makes whole steps of rounding errors where a gradient is all but
zero, so that one process with two threads differs as much from one with a single thread."""

PROGRAM = f"""
import copy, torch
from torch import distributed
from lits_train.cli.train import main
from lits_train.run.distributed import parallel, processes, synchronise
from lits_train.training.losses import segmentation_loss
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.settings.recipe import DEFAULT

distributed.init_process_group("gloo")
recipe = DEFAULT.override(size=32, focal_gamma=2.0)
with processes("cpu") as world:
    torch.manual_seed(0)
    alone = SegmentationNetwork(recipe).double()
    together = copy.deepcopy(alone)
    synchronise(together, world)
    model = parallel(together, world)
    scaled = torch.rand(5, 3, 32, 32, dtype=torch.float64)
    targets, known = (torch.rand(2, 5, 2, 32, 32) > 0.3).float()
    segmentation_loss(alone(scaled), targets, known, recipe).backward()
    mine = [world.share(tensor) for tensor in (scaled, targets, known)]
    segmentation_loss(model(mine[0]), *mine[1:], recipe, world.total).backward()
    expected, found = (
        torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
        for network in (alone, together)
    )
    difference = float((expected - found).norm() / expected.norm())
    assert difference < {GRADIENT_TOLERANCE}, difference
    for ours, theirs in zip(together.buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert world.size == 2 and world.agree(stop=world.rank == 1)
main(standalone_mode=False)
distributed.destroy_process_group()
"""


def torchrun(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", program, *arguments]
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=300, check=False
    )


def options(data: Path, run: Path, recipe: str = "default") -> list[str]:
    thresholds = ",".join(["0.01"] * len(RECIPES[recipe].classes))
    settings = [
        "--set",
        "epoch_slices=10",
        "--set",
        f"thresholds={thresholds}",
        "--size",
        "32",
        "--batch-size",
        "5",
        "--epochs",
        "2",
    ]
    # So low that masks are never empty: their Dice shows whether all slices were counted.
    where = ["--weights", "none", "--device", "cpu", "--validation-case", "2"]
    return [str(data), "-o", str(run), "--recipe", recipe, *settings, *where]


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_train_as_one(phantom_folder: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    one, two = tmp_path / "one", tmp_path / "two"
    together = torchrun(program, *options(phantom_folder, two))
    assert together.returncode == 0, together.stderr
    assert together.stderr.count("epoch 2: loss") == 1  # only the first process reports
    alone = CliRunner().invoke(main, options(phantom_folder, one))
    assert alone.exit_code == 0, alone.stderr
    for ours, theirs in zip(metrics(two), metrics(one), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=LOSS_TOLERANCE)
        assert ours["step"] == theirs["step"]
        for name, dice in theirs["validation_dice"].items():
            assert dice > 0.001
            assert ours["validation_dice"][name] == pytest.approx(dice, rel=0.02)
    ours_last, theirs_last = (load_checkpoint(run / LAST_NAME) for run in (two, one))
    assert ours_last.training["cases"] == theirs_last.training["cases"]
    assert ours_last.resume["progress"]["step"] == 4


def test_what_any_process_cannot_read_is_skipped_and_listed_by_the_first(
    phantom_folder: Path, tmp_path: Path
) -> None:
    """A voxel that is no number lies in one slice, and only one process comes to read it."""
    data = tmp_path / "data"
    data.mkdir()
    for path in phantom_folder.iterdir():
        image = load_nifti(path)
        values = np.asanyarray(image.dataobj).astype(np.float32)
        if path.name.startswith("volume-1"):
            values[5, 5, 4] = np.nan
        nib.save(nib.Nifti1Image(values, image.affine), data / path.name)
    program = tmp_path / "program.py"
    program.write_text("from lits_train.cli.train import main\nmain()\n")
    every_slice = ("--set", "epoch_slices=16", "--batch-size", "4", "--epochs", "1")
    done = torchrun(program, *options(data, tmp_path / "run", "seed"), *every_slice)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("skipped case 1: slice 4 was left out: ") == 1


LOSING = """
import os, sys
from pathlib import Path
from lits_runtime.errors import LitsError
from lits_train.data.cases import find_cases
from lits_train.training.loop import train
from lits_train.settings.recipe import SEED
from lits_train.settings.run import RunSettings

data, rank = Path(sys.argv[1], os.environ["RANK"]), os.environ["RANK"]

def losing():
    for path in data.glob("volume-*") if rank == "1" else ():
        path.unlink()
    return False

run = RunSettings(Path(sys.argv[2]), validation_cases=("2",))
try:
    train(find_cases(data), SEED.override(size=32, batch_size=4), run, losing)
except LitsError as error:
    sys.exit(f"error: {error}")
"""


def test_one_process_s_error_ends_all_and_is_told(phantom_folder: Path, tmp_path: Path) -> None:
    for rank in ("0", "1"):
        shutil.copytree(phantom_folder, tmp_path / "data" / rank)
    program = tmp_path / "program.py"
    program.write_text(LOSING)
    failed = torchrun(program, tmp_path / "data", tmp_path / "run")
    assert failed.returncode == 1
    told = sorted(line for line in failed.stderr.splitlines() if line.startswith("error: process"))
    assert len(told) == 2, failed.stderr
    consequence, cause = told
    assert "process 1: not one slice to train on can be read any more" in cause
    assert "ended because process 1 failed; it says why itself" in consequence
