"""Export: a checkpoint becomes a verified bundle of three ONNX graphs."""
