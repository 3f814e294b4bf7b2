"""What computes the graphs: ONNX Runtime, OpenVINO, CUDA and TensorRT."""
