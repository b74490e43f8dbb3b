"""Evaluate, draw and benchmark segmentations."""

import lits_runtime  # noqa: F401  (before ONNX Runtime, whose telemetry it switches off)
