"""Reproducible image-classification experiments on frozen VGG16 features."""
