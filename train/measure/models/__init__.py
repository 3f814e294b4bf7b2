"""A run, checkpoint or bundle behind one interface."""
