"""Providers: what was asked for, or an error that says what to install; and lits-doctor."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lits_runtime import ProviderError, Segmenter
from lits_runtime.cli.doctor import main as doctor
from lits_runtime.session import providers
from lits_runtime.session.providers import engine_cache, open_session, why_not
from support.models import tiny_model

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


class FallenBack:
    """A session that got the CPU although something else was asked for."""

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


def test_a_silent_fallback_of_onnxruntime_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "why_not", lambda provider: None)
    monkeypatch.setattr(providers, "_create", lambda *arguments: FallenBack())
    for provider in ("cuda", "tensorrt"):
        with pytest.raises(ProviderError, match=f"asked for {provider}, got CPUExecution"):
            open_session(b"", provider)


def test_auto_takes_the_cpu_where_a_gpu_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(model: bytes, provider: str, *rest: Any) -> FallenBack:
        if provider != "cpu":
            raise ProviderError("provider cuda did not start: no device")
        return FallenBack()

    monkeypatch.setattr(providers, "why_not", lambda provider: None)
    monkeypatch.setattr(providers, "_create", create)
    assert isinstance(open_session(b"", "auto"), FallenBack)


def test_gpu_settings() -> None:
    ((name, cuda),) = providers._settings(b"model", "cuda", 3)
    assert name == "CUDAExecutionProvider"
    assert cuda == {
        "device_id": "3",
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "0",
    }


def test_engines_are_cached_by_model_and_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (first, tensorrt), (second, _) = providers._settings(b"model", "tensorrt", 1)
    assert (first, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    cache = engine_cache(b"model", 1)
    assert tensorrt["trt_engine_cache_path"] == str(cache)
    assert cache.is_dir()
    assert tmp_path in cache.parents
    assert engine_cache(b"other model", 1) != cache
    monkeypatch.setattr(providers, "gpu_name", lambda device_id: "another GPU")
    assert engine_cache(b"model", 1) != cache
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(providers, "version", lambda name: "0.0")
    assert engine_cache(b"model", 1) != cache


def test_gpu_slabs_keep_one_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    from lits_runtime.segment import slab_inference as inference

    segmenter = Segmenter.open(tiny_model(), provider="cpu")
    segmenter.engine.provider, segmenter.engine.lanes = "cuda", 1
    shapes = []
    run = inference.run

    def noted(session: Any, outputs: list[str], slab_hu: Any) -> list[Any]:
        shapes.append(slab_hu.shape)
        return run(session, outputs, slab_hu)

    monkeypatch.setattr(inference, "run", noted)
    volume = np.arange(5 * 4 * 11, dtype=np.int16).reshape(5, 4, 11)
    labels = segmenter.segment((volume, np.diag([-1.0, -1, 2, 1])), batch_size=4).labels
    assert shapes == [(4, 4, 5)] * 3
    np.testing.assert_array_equal(labels, (volume >= 50).astype(int) + (volume >= 100))


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
