"""The networks as they are written to ONNX, a folder a family."""
