"""The model that comes with the package; MODEL_CARD.md beside it says what it is good for."""

import importlib.resources
from pathlib import Path


def bundled_model() -> Path:
    """Where its file is."""
    return Path(str(importlib.resources.files(__package__).joinpath("bundled.onnx")))
