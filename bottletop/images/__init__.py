"""Decoding of image files, and the index: the table of a dataset's images."""
