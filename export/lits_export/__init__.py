"""Turn a checkpoint into one self-describing ONNX file and prove that it says the same."""
