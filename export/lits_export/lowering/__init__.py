"""From the trained network to ONNX graphs in each precision."""
