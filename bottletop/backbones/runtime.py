"""TensorFlow and Keras, imported once, without libraries that we do not use and without what they write to stderr.

TensorFlow 2.21 writes five lines about CUDA as it is imported on a machine without a GPU, whatever TF_CPP_MIN_LOG_LEVEL
says: each training would begin with them. Without the optional libraries, the import takes 4.2 s instead of 6.3.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from bottletop.core.parallel import processors

__all__ = ["keras", "tf"]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings and errors only, once it is loaded
OPTIONAL = ("matplotlib", "pandas", "sklearn")  # Keras does without


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Shows what native code wrote to stderr only if the block fails."""
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
    """In the block, packages that are not imported yet are as if not installed."""
    new = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(new))  # type: ignore[arg-type]  # None is Python's way to say so
    try:
        yield
    finally:
        for name in new:
            del sys.modules[name]


with _stderr_held_back(), _left_out(OPTIONAL):
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(processors())
    tf.config.list_physical_devices()  # a machine without a GPU complains when first asked
