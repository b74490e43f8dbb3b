"""ONNX Runtime: sessions on a verified provider, and what this machine can run."""
