"""Segment liver and liver tumours in CT with an exported model; needs no torch.

from lits_runtime import Segmenter
segmenter = Segmenter.open()                  # the bundled model
result = segmenter.segment("scan.nii.gz")
result.save("mask.nii.gz")
"""

import importlib
from typing import TYPE_CHECKING, Any

from lits_runtime.errors import (
    CancelledError,
    CheckpointError,
    DatasetError,
    LitsError,
    ModelError,
    ParityError,
    ProviderError,
    TrainingError,
    VolumeError,
)

if TYPE_CHECKING:
    from lits_runtime.geometry import Geometry
    from lits_runtime.metadata import ModelMetadata
    from lits_runtime.options import Options
    from lits_runtime.report import Report
    from lits_runtime.segmentation import Segmentation
    from lits_runtime.segmenter import Segmenter
    from lits_runtime.volume import Scan

__all__ = [
    "CancelledError",
    "CheckpointError",
    "DatasetError",
    "Geometry",
    "LitsError",
    "ModelError",
    "ModelMetadata",
    "Options",
    "ParityError",
    "ProviderError",
    "Report",
    "Scan",
    "Segmentation",
    "Segmenter",
    "TrainingError",
    "VolumeError",
]

_LAZY = {
    "Geometry": "lits_runtime.geometry",
    "ModelMetadata": "lits_runtime.metadata",
    "Options": "lits_runtime.options",
    "Report": "lits_runtime.report",
    "Scan": "lits_runtime.volume",
    "Segmentation": "lits_runtime.segmentation",
    "Segmenter": "lits_runtime.segmenter",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:  # numpy and nibabel load when they are first needed
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
