"""The pipeline's stages: each reads its inputs, calls the library and writes its outputs."""

from bottletop.core.environment import explain_missing_packages

explain_missing_packages()
