"""The files of a run: settings, checkpoints, log; importing it imports no torch."""
