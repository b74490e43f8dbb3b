"""What is in an ONNX file, read without the onnx package."""
