"""The pipeline's stages: params in, one library call, files out."""
