"""StyleGAN2 as it is written to ONNX: folded, lowered, in fp32 and half precision."""
