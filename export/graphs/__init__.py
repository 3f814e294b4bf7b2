"""Networks as they are written to ONNX: one package for each family, one interface for all."""
