"""Imports TensorFlow and Keras without their unused optional libraries and without their messages on stderr.

On a machine without a GPU, importing TensorFlow 2.21 writes five lines about CUDA, whatever TF_CPP_MIN_LOG_LEVEL says.
Every training would begin with them. Without the optional libraries and garbage collection, the import takes 2.8 s
instead of 4.5 s.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from bottletop.core.imports import quick_imports
from bottletop.core.parallel import processors

__all__ = ["keras", "tf"]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only, once TensorFlow is loaded
OPTIONAL = ("matplotlib", "pandas", "sklearn")  # Keras works without them


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Captures stderr, including that of native code, and shows it only if the block fails."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


with _stderr_held_back(), quick_imports(*OPTIONAL):
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(processors())
    tf.config.list_physical_devices()  # without a GPU, the first query writes a complaint
