"""Training in several processes, on several GPUs and machines."""
