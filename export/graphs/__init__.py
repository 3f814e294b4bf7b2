"""Networks as they are written to ONNX: one package for each family, one interface for all."""

#: ONNX operator set that the graphs are written in.
OPSET = 18
