"""Reads the tensors of a ``.pth`` file of PyTorch before 1.6, without PyTorch. No code in the file is executed.

Such a file begins with five pickles: a magic number, the format's version, the system, a dictionary of tensors, and the
keys of the tensors' values. For each key, in this order, a count and that many values follow.
"""

import io
import math
import pickle
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bottletop.core.errors import DataError

MAGIC = 0x1950A86A20F9469CFC6C
DAMAGE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
)


class _Storage(NamedTuple):
    """A block of values, which several tensors may share."""

    key: str
    dtype: np.dtype[Any]
    length: int


class _Tensor(NamedTuple):
    """The arguments of a call of `torch._utils._rebuild_tensor_v2`."""

    storage: _Storage
    offset: int  # of the first value, in values
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in values
    requires_grad: bool
    hooks: OrderedDict[str, Any]

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Returns the tensor as an array. `strides` may describe any order of the values.

        Args:
            values: all values of the tensor's storage.

        Raises:
            ValueError: the tensor is larger than its storage, or has more or fewer strides than dimensions.
            IndexError: a value lies outside the storage.
        """
        if math.prod(self.shape) > len(values):
            raise ValueError(f"a tensor of shape {self.shape} has {len(values)} values only")
        where = np.array(self.offset)
        for length, stride in zip(self.shape, self.strides, strict=True):
            where = where[..., None] + stride * np.arange(length)
        return np.asarray(values[where])


class _Unpickler(pickle.Unpickler):
    """Accepts tensors of float32 and int64. It refuses everything else that a pickle may name."""

    KNOWN = {  # noqa: RUF012 (not changed)
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
        ("torch", "FloatStorage"): np.dtype("<f4"),
        ("torch", "LongStorage"): np.dtype("<i8"),
    }

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a name; raises UnpicklingError for a name that is not in `KNOWN`."""
        if (module, name) not in self.KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} is no tensor")
        return self.KNOWN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """Returns the storage that a tensor refers to; raises UnpicklingError for other references."""
        match pid:
            case ("storage", np.dtype() as dtype, str(key), str(), int(length), None) if length > 0:
                return _Storage(key, dtype, length)
        raise pickle.UnpicklingError(f"{pid!r} is no storage")


def read(data: bytes) -> dict[str, NDArray[Any]]:
    """Returns the tensors by name.

    Args:
        data: the bytes of a ``.pth`` file.

    Raises:
        DataError: the data is no such file, is cut off, or holds anything other than tensors.
    """
    file = io.BytesIO(data)
    try:
        magic, _, _, tensors, keys = (_Unpickler(file).load() for _ in range(5))
        if magic != MAGIC:
            raise ValueError("it begins otherwise")
        storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
        values = {}
        for key in keys:
            _, dtype, length = storages[key]
            if int.from_bytes(file.read(8), "little") != length:
                raise ValueError(f"it has more or fewer values than its tensors, {length}")
            values[key] = np.frombuffer(data, dtype, length, file.tell())
            file.seek(values[key].nbytes, io.SEEK_CUR)
        return {name: tensor.of(values[tensor.storage.key]) for name, tensor in tensors.items()}
    except DAMAGE as error:
        raise DataError(f"not a .pth file of tensors, as PyTorch wrote before 1.6: {error}") from error
