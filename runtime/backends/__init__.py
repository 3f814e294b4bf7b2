"""Inference backends behind one interface; each is imported only when it is used."""

import os

# From 1.31 on, ONNX Runtime's official builds report to Microsoft unless this is set before the
# import. Behind a firewall that drops packets a process then waits two minutes for the network.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
