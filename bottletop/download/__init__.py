"""From archives, folders and packages to images and weights on disk."""
