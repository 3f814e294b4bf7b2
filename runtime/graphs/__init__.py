"""ONNX models read, checked and written without the package onnx."""
