"""Small ONNX graphs that a device runs between and behind a bundle's own, so that data stays there.

They are whole models (opset 18, IR 8) as bytes, since the runtime has no onnx to build them with;
``tests/runtime/test_glue_graphs.py`` builds both anew and compares.
"""

from __future__ import annotations

import base64

#: Network output to pixels: ``image`` [N, C, H, W] float32 → ``pixels`` [N, H, W, C] uint8, as
#: ``segan.runtime.pixels.to_uint8`` computes them, and ``wrong`` [N] float32, how many values of
#: each image are not finite. For any C, H and W.
PIXELS = base64.b64decode(
    "CAg6ngMKEgoFaW1hZ2UKAWESAW0iA011bAoOCgFtCgFiEgFwIgNBZGQKCwoBcBIBcyIDQWJzCg8KAXMKAWkSAWwiBExl"
    "c3MKCwoBbBIBbiIDTm90ChcKAW4SAWYiBENhc3QqCQoCdG8YAaABAgopCgFmCgF4EgV3cm9uZyIJUmVkdWNlU3VtKg8K"
    "CGtlZXBkaW1zGACgAQIKEgoBcAoBegoBaBIBYyIEQ2xpcAoXCgFjEgF1IgRDYXN0KgkKAnRvGAKgAQIKKQoBdRIGcGl4"
    "ZWxzIglUcmFuc3Bvc2UqEQoEcGVybUAAQAJAA0ABoAEHEgFnKgsQASIEAAD/QkIBYSoLEAEiBAAAAENCAWIqCxABIgQA"
    "AIB/QgFpKgsQASIEAAAAAEIBeioLEAEiBAAAf0NCAWgqDAgDEAc6AwECA0IBeFojCgVpbWFnZRIaChgIARIUCgMSAU4K"
    "AxIBQwoDEgFICgMSAVdiJAoGcGl4ZWxzEhoKGAgCEhQKAxIBTgoDEgFICgMSAVcKAxIBQ2IUCgV3cm9uZxILCgkIARIF"
    "CgMSAU5CBAoAEBI="
)

#: One vector for every site: ``v`` [N, w_dim], ``psi`` [N, num_sites] → ``w``
#: [N, num_sites, w_dim], float32. It adds 0 · psi, which has the number of sites in its shape.
SPREAD = base64.b64decode(
    "CAg60AEKGAoDcHNpCgN0d28SAXAiCVVuc3F1ZWV6ZQoRCgFwCgR6ZXJvEgFvIgNNdWwKFgoBdgoDb25lEgFyIglVbnNx"
    "dWVlemUKDgoBcgoBbxIBdyIDQWRkEgFnKgwIARAHOgEBQgNvbmUqDAgBEAc6AQJCA3R3byoOEAEiBAAAAABCBHplcm9a"
    "FQoBdhIQCg4IARIKCgMSAU4KAxIBV1oXCgNwc2kSEAoOCAESCgoDEgFOCgMSAVNiGgoBdxIVChMIARIPCgMSAU4KAxIB"
    "UwoDEgFXQgQKABAS"
)
