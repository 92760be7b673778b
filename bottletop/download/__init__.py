"""Obtains images and weights from archives, folders and packages, and stores them on disk."""
