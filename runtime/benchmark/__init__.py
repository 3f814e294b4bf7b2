"""Speed, memory and error of a bundle on every available backend."""
