"""ONNX Runtime on a machine with a GPU, as far as the runtime talks to it; no GPU is needed."""

import ctypes
import sys
from collections.abc import Callable
from typing import Any

import pytest

from lits_runtime.session.providers import PROVIDERS, load_onnxruntime


class Options:
    """SessionOptions."""

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Nothing is configured."""


class FakeOnnxRuntime:
    """The package: all providers are built in, and sessions start as told.

    Args:
        start: given the providers that are asked for, says on which the session runs, or raises.
    """

    __file__ = "/nowhere/onnxruntime/__init__.py"
    SessionOptions = Options

    def __init__(self, start: Callable[[list[str]], str]) -> None:
        self.start = start
        self.settings: dict[str, dict[str, str]] = {}
        """Of the session started last, by provider."""

    def get_available_providers(self) -> list[str]:
        """Built in."""
        return list(PROVIDERS.values())

    def preload_dlls(self) -> None:
        """Nothing to load."""

    def InferenceSession(
        self, model: bytes, options: Options, providers: list[tuple[str, dict[str, str]]], **_: Any
    ) -> "FakeSession":
        """A session, or what `start` raises."""
        self.settings = dict(providers)
        return FakeSession(self.start(list(self.settings)))


class FakeSession:
    """A session that runs nothing."""

    def __init__(self, provider: str) -> None:
        self.provider = provider

    def get_providers(self) -> list[str]:
        """What it runs on, and the CPU for the rest."""
        return list(dict.fromkeys([self.provider, PROVIDERS["cpu"]]))


class FakeLibrary:
    """A shared library that loads; as the CUDA driver it knows one GPU."""

    gpu = b"A GPU"

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __getattr__(self, function: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            if function == "cuDeviceGetName":
                arguments[0].value = self.gpu
            return 0

        return call


def with_gpu(monkeypatch: pytest.MonkeyPatch, start: Callable[[list[str]], str]) -> FakeOnnxRuntime:
    """Put the fake in place of the package and of CUDA's libraries, for the rest of a test."""
    fake = FakeOnnxRuntime(start)
    load_onnxruntime.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    monkeypatch.setattr(ctypes, "CDLL", FakeLibrary)
    return fake
