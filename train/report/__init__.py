"""One or several training runs as a page that people read in a browser. Imports no torch."""
