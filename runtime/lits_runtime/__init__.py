"""Segment liver and liver tumours in CT with an exported model; needs no torch.

from lits_runtime import Segmenter
segmenter = Segmenter.open()                  # the bundled model
result = segmenter.segment("scan.nii.gz")
result.save("mask.nii.gz")
"""

import importlib
from typing import TYPE_CHECKING, Any

from lits_runtime.errors import (
    CheckpointError,
    DatasetError,
    LitsError,
    ModelError,
    ParityError,
    ProviderError,
    VolumeError,
)

if TYPE_CHECKING:
    from lits_runtime.metadata import ModelMetadata
    from lits_runtime.segmenter import Segmentation, Segmenter
    from lits_runtime.volume import Geometry

__all__ = [
    "CheckpointError",
    "DatasetError",
    "Geometry",
    "LitsError",
    "ModelError",
    "ModelMetadata",
    "ParityError",
    "ProviderError",
    "Segmentation",
    "Segmenter",
    "VolumeError",
]

_LAZY = {
    "Geometry": "lits_runtime.volume",
    "ModelMetadata": "lits_runtime.metadata",
    "Segmentation": "lits_runtime.segmenter",
    "Segmenter": "lits_runtime.segmenter",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:  # numpy and nibabel load when they are first needed
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
