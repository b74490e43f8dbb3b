"""Segment liver and liver tumours in CT with an exported model; needs no torch.

from lits_runtime import Segmenter
with Segmenter.open() as segmenter:           # the bundled model
    result = segmenter.segment("scan.nii.gz")
result.save("mask.nii.gz")
"""

import os

from lits_runtime.errors import (
    ArgumentError,
    CancelledError,
    CheckpointError,
    ClosedError,
    DatasetError,
    EngineError,
    LitsError,
    ModelError,
    OptionsError,
    OutOfMemoryError,
    OutputBusyError,
    OutputError,
    ParityError,
    ProviderError,
    QuarantineError,
    StoreError,
    TrainingError,
    VolumeError,
)

TYPE_CHECKING = False  # typing takes longer to import than all that is here
if TYPE_CHECKING:
    from typing import Any

    from lits_runtime.measure.report import Report
    from lits_runtime.model.metadata import ModelMetadata
    from lits_runtime.segment.options import Options
    from lits_runtime.segment.segmentation import Segmentation
    from lits_runtime.segment.segmenter import Segmenter
    from lits_runtime.volumes.geometry import Geometry
    from lits_runtime.volumes.scan import Scan

    __version__: str

__all__ = [
    "ArgumentError",
    "CancelledError",
    "CheckpointError",
    "ClosedError",
    "DatasetError",
    "EngineError",
    "Geometry",
    "LitsError",
    "ModelError",
    "ModelMetadata",
    "Options",
    "OptionsError",
    "OutOfMemoryError",
    "OutputBusyError",
    "OutputError",
    "ParityError",
    "ProviderError",
    "QuarantineError",
    "Report",
    "Scan",
    "Segmentation",
    "Segmenter",
    "StoreError",
    "TrainingError",
    "VolumeError",
]

# ONNX Runtime 1.29 and later sends usage data, the whole metadata of a model among it, and keeps an
# identifier of this machine under the home folder. It reads this once, when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_LAZY = {
    "Geometry": "lits_runtime.volumes.geometry",
    "ModelMetadata": "lits_runtime.model.metadata",
    "Options": "lits_runtime.segment.options",
    "Report": "lits_runtime.measure.report",
    "Scan": "lits_runtime.volumes.scan",
    "Segmentation": "lits_runtime.segment.segmentation",
    "Segmenter": "lits_runtime.segment.segmenter",
}


def __getattr__(name: str) -> "Any":
    if name in _LAZY:  # numpy and nibabel load when they are first needed
        import importlib

        from lits_runtime.volumes.nifti.load_nibabel import load_nibabel

        load_nibabel()
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name == "__version__":
        from lits_runtime.system.versions import version

        return version("lits-toolkit") or "0+unknown"  # a checkout that is not installed
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
