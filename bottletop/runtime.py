"""TensorFlow and Keras, imported once and without the lines that they write to stderr as they load."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["keras", "tf"]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings and errors only, once it is loaded


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


with _stderr_held_back():
    import keras
    import tensorflow as tf

    tf.config.list_physical_devices()  # a machine without a GPU complains when first asked
