"""lits-export and its subcommands: which one an argument names, and what is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lits_export import export
from lits_export.cli.export import main
from support.networks.tiny_models import tiny_model


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(map(str, arguments)), prog_name="lits-export")
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands for a checkpoint: the export itself has its tests."""

    def exported(checkpoint: Path, model: Path, settings: object) -> export.ExportResult:
        model.write_bytes(tiny_model())
        return export.ExportResult(model, 1, ())

    monkeypatch.setattr(export, "export_model", exported)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run.pth"
    path.touch()
    return path


def test_without_a_subcommand_a_checkpoint_is_exported(checkpoint: Path) -> None:
    assert invoke("--precision", "fp32", checkpoint, "-o", "model.onnx")[0] == 0
    assert checkpoint.with_name("model.onnx").read_bytes() == tiny_model()


@pytest.mark.parametrize("name", ["inspect", "triton"])
def test_a_checkpoint_of_a_subcommand_s_name_is_given_with_its_folder(
    checkpoint: Path, name: str
) -> None:
    checkpoint.rename(name)
    status, _, message = invoke(name)
    assert (status, f"give ./{name}" in message) == (2, True), message
    assert invoke(f"./{name}")[0] == 0
    assert Path(f"{name}.onnx").exists()


def test_old_flags_do_what_the_subcommands_do(checkpoint: Path, tiny_model_path: Path) -> None:
    for flags in ([], ["--json"]):
        shown = invoke("inspect", tiny_model_path, *flags)
        assert shown[0] == 0
        assert invoke("--inspect", *flags, tiny_model_path) == shown
    assert json.loads(shown[1])["metadata"]["recipe"] == "tiny"
    assert invoke("triton", tiny_model_path, "new")[0] == 0
    assert invoke(tiny_model_path, "--triton", "old")[0] == 0
    assert invoke(checkpoint, "--triton", "old")[0] == 0
    config = Path("tiny/config.pbtxt")
    assert ("old" / config).read_text() == ("new" / config).read_text()
    assert Path("old/run/1/model.onnx").read_bytes() == tiny_model()
    assert not {"--inspect", "--triton"} & set(invoke("--help")[1].split())


def test_help_names_the_subcommands() -> None:
    usage, *lines = invoke("--help")[1].splitlines()
    assert usage == "Usage: lits-export [OPTIONS] CHECKPOINT"
    commands = lines[lines.index("Commands:") + 1 :]
    assert [line.split()[0] for line in commands] == ["inspect", "triton"]
    assert invoke("inspect", "--help")[1].startswith("Usage: lits-export inspect [OPTIONS] MODEL\n")
    assert invoke("triton", "--help")[1].startswith("Usage: lits-export triton [OPTIONS] MODEL DIR")


def test_misplaced_arguments_are_usage_errors(checkpoint: Path, tiny_model_path: Path) -> None:
    model = shutil.copy(tiny_model_path, "model.onnx")
    for arguments, message in (
        ([], "Missing argument 'CHECKPOINT'"),
        (["inspect"], "Missing argument 'MODEL'"),
        (["triton", model], "Missing argument 'DIR'"),
        ([model], "lits-export inspect"),
        ([checkpoint, "--json"], "lits-export inspect MODEL --json"),
        (["inspect", model, "--precision", "fp32"], "No such option"),
        ([checkpoint, "--providers", "cpu,gpu"], "known are cpu"),
    ):
        status, _, found = invoke(*arguments)
        assert (status, message in found) == (2, True), found
    assert sorted(path.name for path in Path().iterdir()) == ["model.onnx", "run.pth"]


@pytest.mark.parametrize("arguments", [["inspect", "tiny.onnx"], ["triton", "tiny.onnx", "models"]])
def test_models_need_neither_torch_nor_onnx(
    arguments: list[str], tiny_model_path: Path, tmp_path: Path
) -> None:
    shutil.copy(tiny_model_path, tmp_path / "tiny.onnx")
    program = f"""
import sys
sys.modules |= dict.fromkeys(("torch", "torchvision", "onnx", "onnxruntime", "numpy", "nibabel"))
from lits_export.cli.export import main
main({arguments})
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
