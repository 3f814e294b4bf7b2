"""FID, KID, precision and recall, PPL and their like."""
