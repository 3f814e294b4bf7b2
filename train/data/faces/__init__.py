"""The built-in cartoon faces: attributes, drawing, rendering."""
