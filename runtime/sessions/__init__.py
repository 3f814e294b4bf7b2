"""Inference backends behind one interface; each is imported only when it is asked for."""
