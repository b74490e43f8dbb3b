"""Random options to every command end in exit status 0, 1 or 2, and never in a traceback."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result

from support.commands import COMMANDS
from support.files.scans import LPS_AFFINE, random_hu
from support.networks.tiny_models import tiny_model

ROUNDS = int(os.environ.get("LITS_FUZZ_OPTIONS", "12"))
"""Of each command."""
MODULES = {
    "lits-infer": "lits_runtime.cli.infer",
    "lits-serve": "lits_runtime.cli.serve",
    "lits-doctor": "lits_runtime.cli.doctor",
    "lits-data": "lits_train.cli.data",
    "lits-train": "lits_train.cli.train",
    "lits-export": "lits_export.cli.export",
    "lits-eval": "lits_tools.cli.eval",
    "lits-view": "lits_tools.cli.view",
    "lits-archive": "lits_tools.cli.archive",
}
WORDS = (
    *("", "-1", "0", "1", "2", "3", "1e9", "nan", "inf", "-inf", "1e-300", "99999999999999999999"),
    *("x", "a=b", "=", "lesion=", "lesion=0.5", "lesion=nan", "lesion=2", "spleen=0.5", "1/2"),
    *("0/0", "2/1", "1/1/1", "cpu", "tpu", "gpu", "auto", "all", "cpu,cpu", ",", "imagenet"),
    *("../..", "/", "/dev/null", "\u202e", "\x1b[2J", "*", "[", "**", "a\nb", "x" * 300),
    *("size=64", "size=0", "classes=", "window_hu=1", "epochs=0", "largest", "worst", "montage"),
    *("labels", "liver", "lesion", "fp16", "int8", "axial", "ct", "LPS", "lesion_dice=0.5"),
)
MADE = ("o.nii.gz", "o.json", "o.csv", "o.png", "o.html", "o.onnx", "out", "o.gif", "a/b/o.nii")
HEAVY = ("--count", "--matrix", "--slices", "--dpi", "--jobs", "-j", "--workers", "--compile")
"""Their large values are work, not errors."""


class Begun(Exception):
    """A command got as far as its work, which is not this test's."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files and folders of the right and of wrong kinds."""
    folder = tmp_path_factory.mktemp("files")
    image = nib.Nifti1Image(random_hu((12, 11, 6)), LPS_AFFINE)
    nib.save(image, folder / "scan.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((3, 3), np.int16), LPS_AFFINE), folder / "flat.nii")
    (folder / "model.onnx").write_bytes(tiny_model())
    (folder / "broken.onnx").write_bytes(tiny_model()[:300])
    (folder / "empty.nii.gz").write_bytes(b"")
    (folder / "text.json").write_text("{}")
    (folder / "c.pth").write_bytes(b"\x80\x04N.")
    (folder / "w.safetensors").write_bytes(b"\xff" * 20)
    (folder / "settings.toml").write_text("size = [")
    (folder / "list.txt").write_text("none.nii\n\0\n")
    (folder / "cases").mkdir()
    nib.save(image, folder / "cases/volume-1.nii")
    mask = (image.get_fdata() > 50).astype(np.uint8)
    for name, labels in (("m.nii", mask), ("cases/segmentation-1.nii", mask[..., :5])):
        nib.save(nib.Nifti1Image(labels, LPS_AFFINE), folder / name)
    (folder / "nothing").mkdir()
    return [str(path) for path in sorted(folder.rglob("*"))]


def leaves(
    command: click.Command, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Commands and subcommands, with the words that name them."""
    if isinstance(command, click.Group):
        if command.invoke_without_command:
            yield words, command
        for name, inner in command.commands.items():
            yield from leaves(inner, (*words, name))
    else:
        yield words, command


def value(parameter: click.Parameter, draw: random.Random, files: list[str]) -> str:
    """A value that gets past the parser most of the time."""
    kind = parameter.type
    if draw.random() < 0.1:
        return draw.choice(WORDS)
    if isinstance(kind, click.Choice):
        return str(draw.choice(list(kind.choices)))
    if isinstance(kind, click.Path | click.File):
        if draw.random() < 0.5 and not getattr(kind, "exists", True):
            return draw.choice(MADE)
        folders = not getattr(kind, "file_okay", True)
        either = getattr(kind, "dir_okay", False)
        return draw.choice([f for f in files if either or Path(f).is_dir() == folders])
    if isinstance(kind, click.types.IntParamType):
        return draw.choice(("0", "1", "2", "5", "64"))
    if isinstance(kind, click.types.FloatParamType):
        return draw.choice(("0", "0.5", "1", "-1", "100", "nan", "inf"))
    return draw.choice(WORDS)


def arguments(command: click.Command, draw: random.Random, files: list[str]) -> list[str]:
    given: list[str] = []
    often = draw.choice((0.02, 0.1, 0.3))
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            count = draw.choice((1, 1, 1, 2)) if parameter.nargs < 0 else parameter.nargs
            given += [value(parameter, draw, files) for _ in range(count)]
        elif isinstance(parameter, click.Option) and parameter.name not in ("version", "debug"):
            wanted = 0.95 if parameter.required or "--output" in parameter.opts else often
            if draw.random() > wanted or set(parameter.opts) & set(HEAVY):
                continue
            given.append(draw.choice(parameter.opts))
            if not (parameter.is_flag or parameter.count):
                given += [value(parameter, draw, files) for _ in range(parameter.nargs)]
    for name, small in (("--matrix", "16"), ("--slices", "2")):  # of a phantom
        if any(name in parameter.opts for parameter in command.params):
            given += [name, small]
    return given


WORK = {
    "lits-serve": ("lits_runtime.server.serving.serve",),
    "lits-train": ("lits_train.training.loop.train",),
    "lits-export": ("lits_export.export.export_model",),
    "lits-data": ("lits_train.data.download.download", "lits_train.data.parallel._there"),
}
"""Begins, and ends at once."""


def begin(*anything: Any, **more: Any) -> Any:
    raise Begun


def complaint(result: Result) -> str | None:
    """What is wrong with how a command ended; None if nothing is."""
    error = result.exception
    if isinstance(error, Begun) or "error: Begun" in result.stderr:
        return None
    if not (error is None or isinstance(error, SystemExit)):
        return f"raised {error!r}"
    if result.exit_code not in (0, 1, 2):
        return f"exit status {result.exit_code}"
    said = result.stderr.strip()
    if "Traceback" in said or "a fault of lits-toolkit" in said:
        return "a fault"
    if result.exit_code == 2 and "Error: " not in said and "error: " not in said:
        return "no word on the usage"
    return None


# click leaves the file of --list open when a later option is wrong.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("command", COMMANDS)
def test_random_options(
    command: str, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    main = importlib.import_module(MODULES[command]).main
    for place in WORK.get(command, ()):
        monkeypatch.setattr(place, begin)
    monkeypatch.chdir(tmp_path)
    draw, found = random.Random(command), []
    run: Callable[..., Result] = CliRunner().invoke
    for words, leaf in leaves(main):
        passed_the_parser = False
        for number in range(20 * ROUNDS if command != "lits-doctor" else 2):
            if number >= ROUNDS and passed_the_parser:
                break
            given = [*words, *arguments(leaf, draw, files)]
            if any(word in given for word in ("-", "/", "../..")):
                continue  # a walk over this machine, or a wait for the terminal
            result = run(main, given)
            passed_the_parser |= result.exit_code != 2
            if (reason := complaint(result)) is not None:
                found.append(f"{reason}: {command} {given}: {result.stderr[-300:]}")
            elif result.exit_code == 1 and not result.stderr and "doctor" not in command:
                found.append(f"nothing said: {command} {given}: {result.stdout[-100:]}")
        assert passed_the_parser, f"{words}: usage errors prove nothing of what lies behind them"
    assert not found, "\n".join(found)
