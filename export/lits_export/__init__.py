"""Turn a checkpoint into one self-describing ONNX file and prove that it says the same."""

import lits_runtime  # noqa: F401  (before ONNX Runtime, whose telemetry it switches off)
