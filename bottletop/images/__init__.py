"""Image files and the table of a dataset's images."""
