"""Train a 2D RegNetY-400MF segmenter on LiTS-style CT volumes."""

import lits_runtime  # noqa: F401  (before ONNX Runtime, whose telemetry it switches off)
