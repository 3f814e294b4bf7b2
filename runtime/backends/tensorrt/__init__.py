"""TensorRT: engines built, cached and run."""
