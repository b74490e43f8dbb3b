"""Two processes of the real torchrun, on the CPU."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from lits_train.data.cases import find_cases
from lits_train.network.checkpoint import LAST_NAME, load_checkpoint
from lits_train.run.distributed import World
from lits_train.run.run_data import open_data
from lits_train.run.state import TrainingState
from lits_train.settings.run import RunSettings
from lits_train.training.validation import validate
from support.files.scans import load_nifti

pytestmark = pytest.mark.slow

GRADIENT_TOLERANCE = 1e-6
"""Relative; the network computes in float64 and the loss in float32."""

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
    alone = SegmentationNetwork(recipe).double().eval()  # the norms of each share would differ
    together = copy.deepcopy(alone)
    synchronise(together, world)
    model = parallel(together, world)
    scaled = torch.rand(5, 3, 32, 32, dtype=torch.float64)
    targets, known = (torch.rand(2, 5, 2, 32, 32) > 0.3).float()
    whole = segmentation_loss(alone(scaled), targets, known, recipe)
    whole.backward()
    mine = [world.share(tensor) for tensor in (scaled, targets, known)]
    shared = segmentation_loss(model(mine[0]), *mine[1:], recipe, world.total)
    shared.backward()
    torch.testing.assert_close(shared, whole)
    expected, found = (
        torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
        for network in (alone, together)
    )
    difference = float((expected - found).norm() / expected.norm())
    assert difference < {GRADIENT_TOLERANCE}, difference
    assert world.size == 2 and world.agree(stop=world.rank == 1)
main(standalone_mode=False)
distributed.destroy_process_group()
"""

OPTIONS = (
    *("--set", "epoch_slices=16", "--set", "thresholds=0.01,0.01", "--size", "32"),
    *("--batch-size", "5", "--epochs", "2", "--weights", "none", "--device", "cpu"),
    *("--validation-case", "2"),
)
"""Thresholds so low that no mask is empty: Dice then shows whether all slices were counted."""


def torchrun(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", program, *arguments]
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=300, check=False
    )


@dataclass(frozen=True)
class RunOfTwo:
    data: Path
    folder: Path
    stderr: str


@pytest.fixture(scope="module")
def run_of_two(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunOfTwo:
    """A run of two processes, of which only one comes to read the slice with a NaN."""
    folder = tmp_path_factory.mktemp("two")
    data, program = folder / "data", folder / "program.py"
    data.mkdir()
    for path in phantom_folder.iterdir():
        image = load_nifti(path)
        values = np.asanyarray(image.dataobj).astype(np.float32)
        if path.name.startswith("volume-1"):
            values[5, 5, 4] = np.nan
        nib.save(nib.Nifti1Image(values, image.affine), data / path.name)
    program.write_text(PROGRAM)
    done = torchrun(program, data, "-o", folder / "run", *OPTIONS)
    assert done.returncode == 0, done.stderr
    return RunOfTwo(data, folder / "run", done.stderr)


def test_two_processes_have_the_gradients_of_one_and_the_first_reports(
    run_of_two: RunOfTwo,
) -> None:
    assert run_of_two.stderr.count("epoch 2: loss") == 1
    last = load_checkpoint(run_of_two.folder / LAST_NAME)
    assert last.resume["progress"]["step"] == 2 * (16 // 5)
    assert last.training["cases"] == ["0", "1"]


def test_what_any_process_cannot_read_is_listed_by_the_first(run_of_two: RunOfTwo) -> None:
    listed = re.findall(
        r"^skipped case 1: slices? .* left out: .*\b1\.nii\b", run_of_two.stderr, re.M
    )
    assert len(listed) == 1


def test_two_processes_validate_all_slices_with_the_network_that_is_saved(
    run_of_two: RunOfTwo,
) -> None:
    last = load_checkpoint(run_of_two.folder / LAST_NAME)
    lines = (run_of_two.folder / "metrics.jsonl").read_text().splitlines()
    run = RunSettings(run_of_two.folder, weights="none", validation_cases=("2",), resume=True)
    world = World(torch.device("cpu"))
    data = open_data(find_cases(run_of_two.data), last.recipe, run, world)
    state = TrainingState(last.recipe, run, world, last.training, data.order.steps)
    dice = validate(state, data.validation_batches, 1, lambda: False)
    assert dice is not None
    assert min(dice) > 0.001
    assert [*json.loads(lines[-1])["validation_dice"].values()] == pytest.approx(dice, rel=1e-3)


LOSING = """
import os, sys
from pathlib import Path
from lits_runtime.errors import LitsError
from lits_train.data.cases import find_cases
from lits_train.training.loop import train
from lits_train.settings.recipe import BASELINE
from lits_train.settings.run import RunSettings

data, rank = Path(sys.argv[1], os.environ["RANK"]), os.environ["RANK"]

def losing():
    for path in data.glob("volume-*") if rank == "1" else ():
        path.unlink()
    return False

run = RunSettings(Path(sys.argv[2]), validation_cases=("2",))
try:
    train(find_cases(data), BASELINE.override(size=32, batch_size=4), run, losing)
except LitsError as error:
    sys.exit(f"error: {error}")
"""


def test_an_error_in_one_process_ends_all(phantom_folder: Path, tmp_path: Path) -> None:
    for rank in ("0", "1"):
        shutil.copytree(phantom_folder, tmp_path / "data" / rank)
    program = tmp_path / "program.py"
    program.write_text(LOSING)
    failed = torchrun(program, tmp_path / "data", tmp_path / "run")
    assert failed.returncode == 1
    # Both write to one pipe, so that their lines may lie within each other.
    errors = sorted(failed.stderr.split("error: process ")[1:])
    assert len(errors) == 2, failed.stderr
    of_the_other, of_the_failed = errors
    assert "1: no training slice is readable any more" in of_the_failed
    assert "stopped because process 1 failed; see its own error" in of_the_other
