"""What a model file says about itself, as lits-export prints it."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner
from onnx import helper

from lits_export.cli.export import main
from lits_runtime.model.bundled import bundled_model
from lits_runtime.model.description import describe, table
from support.networks.tiny_models import tiny_model


def embedded() -> dict[str, Any]:
    """The bundled model's metadata, read by onnx."""
    properties = {entry.key: entry.value for entry in onnx.load(bundled_model()).metadata_props}
    metadata: dict[str, Any] = json.loads(properties["lits"])
    return metadata


def test_inspect_tells_people_what_the_file_says() -> None:
    result = CliRunner().invoke(main, ["inspect", str(bundled_model())])
    assert result.exit_code == 0, result.output
    for expected in (
        hashlib.sha256(bundled_model().read_bytes()).hexdigest(),
        "precision                fp16-weights (weights: 4416576 float16, 39521 float32)",
        "classes                  liver (label 1, from 0.7), lesion (label 2, from 0.5)",
        "input                    slab float32 [n + 2, height, width]",
        "output probability       probability float32 [n, 2, height, width]",
        "context slices           1 on either side",
        "post-processing          largest liver only, lesions from 0.05 ml, lesions of which",
        "liver search             every 20 mm",
        "ONNX                     IR 10, opset 18, by lits-export",
        "CC BY-NC-SA 4.0",
        "not for clinical use",
        f"validation_dice.liver    {embedded()['training']['validation_dice']['liver']:.6g}",
    ):
        assert expected in result.stdout
    lines = result.stdout.splitlines()
    (title,) = (line for line in lines if re.match("  engine +class  ", line))
    head, row = (re.split(" {2,}", lines[lines.index(title) + below].strip()) for below in (0, 2))
    figures = dict(zip(head, row, strict=True))
    parity = embedded()["parity"]
    assert figures["class"] == "liver"
    assert figures["engine"].startswith(parity["provider"])
    liver = parity["classes"]["liver"]
    assert figures["dice"] == f"{liver['dice']:.6g}"
    assert figures["changed_voxels"] == str(liver["changed_voxels"])


def test_inspect_tells_machines_everything() -> None:
    result = CliRunner().invoke(main, ["inspect", "--json", str(bundled_model())])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["size_bytes"] == bundled_model().stat().st_size
    assert found["inputs"] == [
        {"name": "slab", "type": "float32", "dims": ["n + 2", "height", "width"]}
    ]
    assert found["opsets"] == {"": 18}
    convolutions = [
        node for node in onnx.load(bundled_model()).graph.node if node.op_type == "Conv"
    ]
    assert found["operators"]["Conv"] == len(convolutions) > 80
    assert found["metadata"] == embedded()


def test_what_is_read_is_what_onnx_reads(tiny_model_path: Path) -> None:
    for path in (bundled_model(), tiny_model_path):
        model, file = onnx.load(path), describe(path).file
        assert file.ir_version == model.ir_version
        assert sum(file.operators.values()) == len(model.graph.node)
        expected = {
            tensor.name: (
                helper.tensor_dtype_to_np_dtype(tensor.data_type).name,
                tuple(tensor.dims),
            )
            for tensor in model.graph.initializer
        }
        assert {t.name: (t.type, t.dims) for t in file.tensors} == expected


def test_text_of_strangers_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    evil = "\x1b[2J\x1b]0;owned\x07\u202e\ud800"
    path.write_bytes(tiny_model({"licence": evil, "training": {evil: [evil]}, "recipe": evil}))
    result = CliRunner().invoke(main, ["inspect", str(path)])
    assert result.exit_code == 0, result.output
    assert all(line.isprintable() for line in result.stdout.splitlines())
    assert "\\x1b[2J" in result.stdout


@pytest.mark.parametrize("classes", [None, {}, {"liver": 3}])
def test_a_model_without_parity_figures_has_no_table(classes: object) -> None:
    assert table({"provider": "cpu", "classes": classes, "others": [classes]}) == []


def test_every_engine_has_its_rows() -> None:
    """A file that was compared in two engines, and a report without a version of an older file."""
    report = {"classes": {"liver": {"dice": 1.0}, "lesion": {"dice": 0.5}}}
    other = report | {"provider": "openvino", "version": "openvino 2026.1"}
    assert table(report | {"provider": "cpu", "others": [other]}) == [
        "engine                      class   dice",
        "cpu                         liver   1",
        "cpu                         lesion  0.5",
        "openvino (openvino 2026.1)  liver   1",
        "openvino (openvino 2026.1)  lesion  0.5",
    ]
