"""A model file before it runs: parsed, checked, bounded, described; needs no onnx."""
