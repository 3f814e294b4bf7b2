"""What readers read from images, and what a change of the images does to it."""
