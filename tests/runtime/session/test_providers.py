"""Providers: the one asked for, or an error that says what to install; and lits-doctor."""

import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lits_runtime import ProviderError, Segmenter
from lits_runtime.cli.doctor import main as doctor
from lits_runtime.cli.infer import main as infer
from lits_runtime.cli.options import arguments
from lits_runtime.model.checked_file import check
from lits_runtime.session.engine import Engine
from lits_runtime.session.opening import checked_opening
from lits_runtime.session.providers import (
    PROVIDERS,
    load_onnxruntime,
    open_session,
    session_provider,
    why_not,
)
from support.networks.fake_onnxruntime import FakeLibrary, with_gpu
from support.networks.tiny_models import tiny_model

WITHOUT_GPU = why_not("cuda") is not None


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_what_does_not_load_is_refused_with_the_library_and_the_command(provider: str) -> None:
    reason = why_not(provider)
    if reason is None:
        assert Segmenter.open(tiny_model(), provider=provider).provider == provider
        return
    with pytest.raises(ProviderError) as caught:
        Segmenter.open(tiny_model(), provider=provider)
    message = str(caught.value)
    assert f"provider {provider} is not available" in message
    assert "lits-toolkit[cuda]" in message
    assert "lib" in message or "built without it" in message
    assert ("tensorrt-cu13" in message) == (provider == "tensorrt")


def as_asked(providers: list[str]) -> str:
    return providers[0]


def on_the_cpu(providers: list[str]) -> str:
    return "CPUExecutionProvider"


def without_device(providers: list[str]) -> str:
    if providers != ["CPUExecutionProvider"]:
        raise RuntimeError("no CUDA-capable device is detected")
    return providers[0]


@pytest.fixture(autouse=True)
def real_onnxruntime_afterwards() -> Iterator[None]:
    yield
    load_onnxruntime.cache_clear()


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_silent_fallback_of_onnxruntime_is_an_error(
    provider: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with_gpu(monkeypatch, on_the_cpu)
    with pytest.raises(ProviderError, match=f"asked for {provider}, got CPUExecution"):
        open_session(b"", provider)


def test_auto_takes_the_gpu_where_it_starts_and_else_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_gpu(monkeypatch, as_asked)
    assert session_provider(open_session(b"", "auto")) == "cuda"
    with_gpu(monkeypatch, without_device)
    assert session_provider(open_session(b"", "auto")) == "cpu"
    with pytest.raises(ProviderError, match="cuda did not start: no CUDA-capable device"):
        open_session(b"", "cuda")


def test_float32_is_float32_on_the_gpu_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = with_gpu(monkeypatch, as_asked)
    open_session(b"model", "cuda", device_id=3)
    settings = fake.settings["CUDAExecutionProvider"]
    assert (settings["device_id"], settings["use_tf32"]) == ("3", "0")


def test_tensorrt_engines_are_cached_by_model_gpu_and_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fake = with_gpu(monkeypatch, as_asked)

    def cache(model: bytes) -> Path:
        open_session(model, "tensorrt", device_id=1)
        assert list(fake.settings) == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
        return Path(fake.settings["TensorrtExecutionProvider"]["trt_engine_cache_path"])

    first = cache(b"model")
    assert first.is_dir() and tmp_path in first.parents
    assert cache(b"model") == first
    folders = {first, cache(b"other model")}
    monkeypatch.setattr(FakeLibrary, "gpu", b"Another GPU")
    folders.add(cache(b"model"))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0")
    folders.add(cache(b"model"))
    assert len(folders) == 4


class OnGpu:
    """A session on the CPU that says it is on a GPU, and notes the slabs that it gets."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.shapes: list[tuple[int, ...]] = []

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider"]

    def run(self, outputs: list[str], inputs: dict[str, Any], options: Any) -> Any:
        self.shapes.append(inputs["slab"].shape)
        return self.session.run(outputs, inputs, options)


def test_gpu_slabs_keep_one_shape() -> None:
    content = tiny_model()
    session = OnGpu(open_session(content, "cpu"))
    opening = checked_opening(content, "cuda", None, 0, None)
    segmenter = Segmenter(Engine(session, check(content), opening, lanes=1, threads=1))
    volume = np.arange(5 * 4 * 11, dtype=np.int16).reshape(5, 4, 11)
    labels = segmenter.segment((volume, np.diag([-1.0, -1, 2, 1])), batch_size=4).labels
    assert session.shapes == [(4, 4, 5)] * 3
    np.testing.assert_array_equal(labels, (volume >= 50).astype(int) + (volume >= 100))


def test_an_fp16_model_on_the_cpu_is_told_once_what_would_be_faster(
    tmp_path: Path, phantom_folder: Path
) -> None:
    model = tmp_path / "fp16.onnx"
    model.write_bytes(tiny_model({"precision": "fp16"}))
    arguments = [str(phantom_folder), "-m", str(model), "-o", str(tmp_path / "masks")]
    result = CliRunner().invoke(infer, [*arguments, "--provider", "cpu"])
    assert result.exit_code == 0, result.output
    assert result.stderr.count("--precision fp16-weights") == 1
    result = CliRunner().invoke(doctor, ["-m", str(model), "--json"])
    assert [line for line in json.loads(result.stdout)["advice"] if "fp16-weights" in line]


def test_nothing_is_said_of_other_models(tiny_model_path: Path) -> None:
    result = CliRunner().invoke(doctor, ["-m", str(tiny_model_path)])
    assert "fp16-weights" not in result.output


def test_doctor_tries_each_provider_and_says_what_to_install(tiny_model_path: Path) -> None:
    result = CliRunner().invoke(doctor, ["-m", str(tiny_model_path)])
    assert result.exit_code == 0, result.output
    assert "ms per slice" in result.output
    facts = json.loads(CliRunner().invoke(doctor, ["-m", str(tiny_model_path), "--json"]).stdout)
    runs = {check["name"]: check["runs"] for check in facts["providers"]}
    assert runs["cpu"]
    assert runs["cuda"] is not WITHOUT_GPU
    assert facts["processors"]["threads used"] >= 1
    assert {"python", "numpy", "nibabel"} <= facts["versions"].keys()
    assert facts["advice"] or all(runs.values())


def test_doctor_fails_where_nothing_runs(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    result = CliRunner().invoke(doctor, ["-m", str(tmp_path / "broken.onnx")])
    assert result.exit_code == 1
    assert "not an ONNX file" in result.output


def test_commands_offer_every_provider() -> None:
    assert tuple(PROVIDERS) == arguments.PROVIDERS
