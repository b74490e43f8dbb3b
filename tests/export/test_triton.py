"""The repository for Triton, read with the definition that Triton itself reads it with."""

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from google.protobuf import text_format

from lits_export.cli.export import main
from lits_export.triton import write_repository
from lits_runtime.model.bundled import bundled_model
from support.networks.tiny_models import tiny_model


def parsed(config: Path) -> Any:
    """tritonclient's module by its path: the package around it wants gRPC."""
    distribution = importlib.metadata.distribution("tritonclient")
    path = Path(str(distribution.locate_file("tritonclient/grpc/model_config_pb2.py")))
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return text_format.Parse(config.read_text(), module.ModelConfig())


def tensors(values: Any) -> dict[str, tuple[int, list[int]]]:
    return {value.name: (value.data_type, list(value.dims)) for value in values}


FP32, UINT8 = 11, 2
"""Of DataType in model_config.proto."""


def test_independent_slices_are_batched(tiny_model_path: Path, tmp_path: Path) -> None:
    arguments = ["triton", str(tiny_model_path), str(tmp_path / "models")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "models/tiny"
    assert (folder / "1/model.onnx").read_bytes() == tiny_model_path.read_bytes()
    config = parsed(folder / "config.pbtxt")
    assert (config.name, config.platform) == ("tiny", "onnxruntime_onnx")
    assert (config.backend, config.default_model_filename) == ("onnxruntime", "model.onnx")
    assert config.HasField("dynamic_batching")
    assert config.max_batch_size > 1
    assert tensors(config.input) == {"slab": (FP32, [-1, -1])}
    assert tensors(config.output) == {
        "labels": (UINT8, [-1, -1]),
        "probability": (FP32, [2, -1, -1]),
    }


def test_slices_with_neighbours_are_not_batched(tmp_path: Path) -> None:
    folder = write_repository(bundled_model(), tmp_path / "models")
    config = parsed(folder / "config.pbtxt")
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert tensors(config.input) == {"slab": (FP32, [-1, -1, -1])}
    assert tensors(config.output)["probability"] == (FP32, [-1, 2, -1, -1])
    assert "slab holds n + 2 slices" in (folder / "config.pbtxt").read_text()


def test_names_are_quoted(tmp_path: Path) -> None:
    model = tmp_path / 'a "b" \u00e9.onnx'
    model.write_bytes(tiny_model())
    config = parsed(write_repository(model, tmp_path / "models") / "config.pbtxt")
    assert config.name == 'a "b" \u00e9'


def test_an_older_model_needs_force_and_survives_a_failure(
    tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = tmp_path / "tiny/config.pbtxt"
    older.parent.mkdir()
    older.write_text("older")
    arguments = ["triton", str(tiny_model_path), str(tmp_path)]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", disk_full)
        assert CliRunner().invoke(main, [*arguments, "--force"]).exit_code == 1
    assert older.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert CliRunner().invoke(main, [*arguments, "--force"]).exit_code == 0
    assert parsed(older).name == "tiny"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny"]
