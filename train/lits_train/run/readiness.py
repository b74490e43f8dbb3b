"""Checks before any scan is read: device, shared memory, output folder, TensorBoard."""

import importlib.util
import tempfile

import torch

from lits_runtime.errors import TrainingError
from lits_train.run.distributed import World, launched
from lits_train.run.run_data import require_shared_memory
from lits_train.settings.recipe import Recipe
from lits_train.settings.run import RunSettings


def check_device(device: str, precision: str = "auto") -> None:
    """Make sure that torch can use a device that `RunSettings` accepts.

    Raises:
        TrainingError: it cannot.
    """
    kind, _, number = device.partition(":")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise TrainingError(
            "device mps: not available with this torch or machine; use --device cpu"
        )
    if kind != "cuda":
        return
    if not torch.cuda.is_available():
        built = "" if torch.version.cuda else ": this torch was built without CUDA"
        raise TrainingError(f"device {device}: no usable GPU{built}; use --device cpu")
    count = torch.cuda.device_count()
    index = int(number) if number else launched().local_rank
    if index >= count:
        raise TrainingError(
            f"device cuda:{index}: there are {count} GPUs, cuda:0 to cuda:{count - 1}; "
            "choose one of them, and start at most that many processes"
        )
    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=True):
        raise TrainingError(f"precision bf16: {device} does not support it; use fp16 or fp32")


def check_run(recipe: Recipe, run: RunSettings, world: World) -> None:
    """Refuse a run that would fail later, for other reasons than its device.

    Raises:
        TrainingError: shared memory is too small, or the output is not a folder.
        ModuleNotFoundError: TensorBoard is requested but not installed.
        OSError: the output folder is not writable.
    """
    require_shared_memory(recipe, run, world)
    if run.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ModuleNotFoundError("No module named 'tensorboard'", name="tensorboard")
    if not world.leads:
        return
    existing = run.folder.absolute()
    while not existing.exists() and not existing.is_symlink():
        existing = existing.parent
    if not existing.is_dir():
        raise TrainingError(f"{run.folder}: {existing} is not a folder; choose another output")
    try:
        with tempfile.TemporaryFile(dir=existing):  # the only reliable check
            pass
    except OSError as error:
        raise OSError(error.errno, f"cannot write here: {error.strerror}", str(existing)) from error
