"""Inference backends behind one interface; each is imported only when it is asked for."""

import os

# ONNX Runtime's official builds report to Microsoft from 1.31 on, unless this is set before it is
# imported; behind a firewall that drops packets a process then waits two minutes for the network.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
