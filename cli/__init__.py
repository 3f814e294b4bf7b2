"""The command line: one thin Click command per file."""
