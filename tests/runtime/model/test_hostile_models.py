"""Hostile models and checkpoints: one line, exit status 1, nothing run, nothing written."""

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from lits_export.cli.export import main as export
from lits_runtime import CheckpointError, LitsError, ModelError, Segmenter
from lits_runtime.cli.infer import main as infer
from lits_runtime.model.checked_file import MAX_MODEL_BYTES, check
from lits_runtime.segment.slabs.inference import check_contract
from lits_train.cli.train import main as train
from lits_train.weights.reader import MAX_WEIGHTS_BYTES, read_weights
from support.files.scans import LPS_AFFINE, random_hu, save
from support.hostile.checkpoints import GOOD, HOSTILE_CHECKPOINTS, UNREADABLE
from support.hostile.costly_models import COSTLY_MODELS
from support.hostile.models import HOSTILE_MODELS, NEEDS_A_RUN, beyond_probability, flipped
from support.networks.tiny_models import tiny_model
from support.paths import ROOT

FLIPS = 400
HIDDEN = [name for name in HOSTILE_MODELS if name.startswith("hidden")]


def marked(names: Iterable[str]) -> list[Any]:
    """Parameters, of which the models that take seconds to make are slow."""
    large = ("a million parts", "100,000 nodes")
    return [pytest.param(name, marks=pytest.mark.slow if name in large else ()) for name in names]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with a scan, which has to stay as it is."""
    save(tmp_path / "scan.nii", random_hu((8, 7, 6)), LPS_AFFINE)
    return tmp_path


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
    }


def assert_one_line(stderr: str) -> None:
    (line,) = stderr.splitlines()
    assert line.startswith("error: ")
    assert line.isprintable()
    assert 20 < len(line) < 1000


def assert_refused(
    command: click.Command, arguments: list[str], folder: Path, capfd: pytest.CaptureFixture[str]
) -> str:
    before = contents(folder)
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 1, (result.exception, result.output)
    assert_one_line(result.stderr)
    assert result.stdout == ""
    assert capfd.readouterr() == ("", ""), "native code wrote past Python"
    assert contents(folder) == before
    return result.stderr


def infer_arguments(folder: Path, *more: str) -> list[str]:
    paths = ["-m", str(folder / "model.onnx"), "-o", str(folder / "mask.nii.gz")]
    return [str(folder / "scan.nii"), *paths, "--provider", "cpu", *more]


@pytest.mark.parametrize("name", marked(HOSTILE_MODELS))
def test_a_hostile_model_is_refused(
    name: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = folder / "model.onnx"
    model.write_bytes(HOSTILE_MODELS[name]())
    assert_refused(infer, infer_arguments(folder), folder, capfd)
    if name not in NEEDS_A_RUN:
        assert_refused(export, ["inspect", str(model)], folder, capfd)
        assert_refused(export, ["triton", str(model), str(folder / "triton")], folder, capfd)


@pytest.mark.parametrize("name", marked(COSTLY_MODELS))
def test_a_costly_model_is_refused_for_what_makes_it_costly(name: str) -> None:
    """Refused before anything runs; ReduceMin only joins the costly part to the labels."""
    with pytest.raises(ModelError, match=r"^the model (holds|takes) (?!.*ReduceMin)"):
        check(COSTLY_MODELS[name]())


@pytest.mark.parametrize("name", HIDDEN)
def test_onnx_runtime_reads_what_is_hidden(name: str) -> None:
    """ONNX Runtime loads these files, loops included; otherwise they would test nothing."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = HOSTILE_MODELS[name]()
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def test_probabilities_beyond_one_are_refused_where_they_are_asked_for(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(beyond_probability())
    arguments = infer_arguments(folder, "--probability", str(folder / "p.nii.gz"))
    result = CliRunner().invoke(infer, arguments)
    assert result.exit_code == 1
    assert "the model returned probabilities from 0 to 1.5, expected 0 to 1" in result.stderr
    assert not (folder / "mask.nii.gz").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01])
def test_a_voxel_that_is_no_probability_is_refused(value: float) -> None:
    metadata = check(tiny_model()).metadata
    probability = np.full((2, 2, 4, 5), 0.5, np.float32)
    probability[0, 0, 0, 0] = np.nextafter(np.float32(1), np.float32(2))  # one, rounded up
    check_contract(metadata, "probability", probability, (2, 4, 5))
    probability[1, 1, 3, 4] = value
    with pytest.raises(ModelError, match="expected 0 to 1"):
        check_contract(metadata, "probability", probability, (2, 4, 5))


@pytest.mark.parametrize(("promised", "wrong"), [((2,), 1), ((2,), 3), ((1,), 2), ((1, 2), 3)])
def test_a_label_that_the_metadata_does_not_promise_is_refused(
    promised: tuple[int, ...], wrong: int
) -> None:
    metadata = replace(check(tiny_model()).metadata, label_values=promised)
    labels = np.zeros((2, 4, 5), np.uint8)
    labels[0, 0, : len(promised)] = promised
    check_contract(metadata, "labels", labels, (2, 4, 5))
    labels[1, 3, 4] = wrong
    with pytest.raises(ModelError, match=f"returned label {wrong}"):
        check_contract(metadata, "labels", labels, (2, 4, 5))


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE_CHECKPOINTS)
def test_a_hostile_checkpoint_is_refused(
    name: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = folder / "checkpoint.pth"
    path.write_bytes(HOSTILE_CHECKPOINTS[name](folder / "owned"))
    arguments = [str(path), "-o", str(folder / "model.onnx")]
    assert "checkpoint.pth" in assert_refused(export, arguments, folder, capfd)


@pytest.mark.slow
@pytest.mark.parametrize("name", UNREADABLE)
def test_hostile_starting_weights_are_refused(
    name: str, folder: Path, phantom_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = folder / "weights.pth"
    path.write_bytes(HOSTILE_CHECKPOINTS[name](folder / "owned"))
    arguments = [str(phantom_folder), "-o", str(folder / "run"), "--weights", str(path)]
    assert "weights.pth" in assert_refused(train, arguments, folder, capfd)


def test_oversize_files_are_refused_unread(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, checkpoint = folder / "model.onnx", folder / "checkpoint.pth"
    for path, limit in ((model, MAX_MODEL_BYTES), (checkpoint, MAX_WEIGHTS_BYTES)):
        with path.open("wb") as file:
            file.truncate(limit + 1)  # takes no space on the disk
    arguments = [str(checkpoint), "-o", str(folder / "other.onnx")]
    for command, given in (
        (infer, infer_arguments(folder)),
        (export, ["inspect", str(model)]),
        (export, arguments),
    ):
        assert str(2**30) in assert_refused(command, given, folder, capfd)


def test_a_model_of_another_sha256_is_refused(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "model.onnx").write_bytes(tiny_model())
    good = hashlib.sha256(tiny_model()).hexdigest()
    pinned = infer_arguments(folder, "--model-sha256", good[::-1])
    assert good in assert_refused(infer, pinned, folder, capfd)
    accepted = infer_arguments(folder, "--model-sha256", good.upper())
    assert CliRunner().invoke(infer, accepted).exit_code == 0


@pytest.mark.slow
def test_a_flipped_bit_is_an_error_or_keeps_the_contract_and_never_passes_a_pin() -> None:
    """A flip in a constant makes another valid model, which only its SHA-256 gives away."""
    content, slab_hu = tiny_model(), np.full((2, 4, 5), 70, np.float32)
    pinned = hashlib.sha256(content).hexdigest()
    generator, refused = random.Random(3), 0
    for _ in range(FLIPS):
        changed = flipped(content, generator.randrange(len(content)), generator.randrange(8))
        with pytest.raises(LitsError, match="SHA-256"):
            Segmenter.open(changed, provider="cpu", sha256=pinned)
        try:
            segmenter = Segmenter.open(changed, provider="cpu", threads=1)
            result = segmenter.segment((slab_hu.T, np.eye(4)))
            assert result.labels.shape == (5, 4, 2)
            assert set(np.unique(result.labels)) <= {0, *segmenter.metadata.label_values}
        except LitsError as error:
            assert str(error).isprintable()
            refused += 1
    assert FLIPS / 3 < refused < FLIPS


@pytest.mark.slow
def test_a_flipped_bit_in_a_checkpoint_is_found_or_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(GOOD)
    expected = read_weights(path)[0]["state_dict"]
    generator, found = random.Random(4), 0
    for _ in range(25):
        path.write_bytes(flipped(GOOD, generator.randrange(len(GOOD)), generator.randrange(8)))
        try:
            state = read_weights(path)[0]["state_dict"]
            assert all((state[name] == tensor).all() for name, tensor in expected.items())
        except CheckpointError:
            found += 1
    assert found > 20


PROCESSES: dict[str, Callable[[Path, Path], tuple[str, list[str]]]] = {
    "malicious pickle": lambda folder, _: (
        "lits_export.cli.export",
        [write(folder, HOSTILE_CHECKPOINTS["code in place of weights"](folder / "owned"))],
    ),
    "malicious starting weights": lambda folder, phantoms: (
        "lits_train.cli.train",
        [
            *(str(phantoms), "-o", str(folder / "run"), "--weights"),
            write(folder, HOSTILE_CHECKPOINTS["code in a bare pickle"](folder / "owned")),
        ],
    ),
    "external data": lambda folder, _: (
        "lits_runtime.cli.infer",
        infer_process(folder, HOSTILE_MODELS["external data"]()),
    ),
    "fails when run": lambda folder, _: (
        "lits_runtime.cli.infer",
        infer_process(folder, HOSTILE_MODELS["fails when run"]()),
    ),
    "gigabytes of zeros": lambda folder, _: (
        "lits_runtime.cli.infer",
        infer_process(folder, COSTLY_MODELS["ConstantOfShape"]()),
    ),
}


def write(folder: Path, content: bytes) -> str:
    (folder / "checkpoint.pth").write_bytes(content)
    return str(folder / "checkpoint.pth")


def infer_process(folder: Path, model: bytes) -> list[str]:
    (folder / "model.onnx").write_bytes(model)
    return infer_arguments(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROCESSES)
def test_a_real_process_says_one_line_too(name: str, folder: Path, phantom_folder: Path) -> None:
    module, arguments = PROCESSES[name](folder, phantom_folder)
    before = contents(folder)
    program = f"from {module} import main; main()"
    paths = os.pathsep.join(str(ROOT / part) for part in ("runtime", "train", "export"))
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert done.returncode == 1
    assert_one_line(done.stderr)
    assert done.stdout == ""
    assert contents(folder) == before
