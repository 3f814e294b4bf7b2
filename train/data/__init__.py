"""Images in: data sets, conversion, and the built-in faces; imports no torch."""
