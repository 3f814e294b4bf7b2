"""Networks as they are written to ONNX: one package for each family, one interface for all."""

#: ONNX operator set that the graphs are written in, and the first IR version that has it. A newer
#: one would shut out ONNX Runtime before 1.18.
OPSET, IR_VERSION = 18, 8
