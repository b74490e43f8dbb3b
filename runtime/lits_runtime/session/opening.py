"""The arguments with which a model is opened: checked once, enough to open it again elsewhere."""

import os
from dataclasses import dataclass
from pathlib import Path

from lits_runtime.arguments import described, file_path, whole_number
from lits_runtime.errors import ArgumentError, OptionsError
from lits_runtime.model.bundled import bundled_model
from lits_runtime.model.checked_file import read_content

MAX_THREADS = 1024
"""More are a typing error, and ONNX Runtime would start them all."""


@dataclass(frozen=True)
class Opening:
    """The arguments of `Segmenter.open`, all that is needed to call it again elsewhere."""

    model: Path | bytes | None
    provider: str
    threads: int | None
    device_id: int
    sha256: str | None

    def content(self) -> bytes:
        """The model's bytes, read again where it is a file."""
        if isinstance(self.model, bytes):
            return self.model
        return read_content(bundled_model() if self.model is None else self.model)


def checked_opening(
    model: object, provider: object, threads: object, device_id: object, sha256: object
) -> Opening:
    """The arguments of `Segmenter.open`, with types and ranges checked.

    Raises:
        ArgumentError: an argument of another type.
        OptionsError: a number out of range, or a malformed SHA-256.
    """
    if isinstance(model, bytearray | memoryview):
        model = bytes(model)
    if model is not None and not isinstance(model, bytes):
        # Absolute, because it may be opened again from another folder.
        model = Path(os.path.abspath(file_path("model", model)))
    if not isinstance(provider, str):
        raise ArgumentError(f"provider: {described(provider)}, expected its name")
    if sha256 is not None:
        if not isinstance(sha256, str):
            raise ArgumentError(f"sha256: {described(sha256)}, expected 64 hexadecimal digits")
        if len(sha256) != 64 or not set(sha256.lower()) <= set("0123456789abcdef"):
            raise OptionsError(f"sha256 {sha256!r:.80}: expected 64 hexadecimal digits")
    return Opening(
        model,
        provider,
        None if threads is None else whole_number("threads", threads, 1, MAX_THREADS),
        whole_number("device_id", device_id, 0),
        sha256,
    )
