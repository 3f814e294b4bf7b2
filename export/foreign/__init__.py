"""Other projects' checkpoints as generators; nothing in a file runs."""
