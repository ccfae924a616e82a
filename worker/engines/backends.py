"""What Keras computes with: TensorFlow, JAX or torch, as KERAS_BACKEND says, each behind the same few acts."""

import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import EngineMissingError
from worker.engines.base import KERAS

TENSORFLOW, JAX, TORCH = "tensorflow", "jax", "torch"
PACKAGES = {TENSORFLOW: "tensorflow-cpu", JAX: "jax", TORCH: "torch"}

# What TensorFlow and Keras would import where it is installed, for converters and wrappers that nobody here uses: a
# quarter of the time that a process takes to start.
NEEDLESS = frozenset({"jax", "sklearn"})

# How a worker tells its engine's process what it may take of a GPU.
GPU_MEMORY_VARIABLE = "OVERREAD_ENGINE_GPU_BYTES"
MIB = 1024 * 1024

# A side of None may be any.
Shape = tuple[int | None, ...]
# Of a batch, a tensor of the backend's, tensors of float32, in the words of `keras.ops`.
Forward = Callable[[Any], tuple[Any, ...]]
# Of a batch of float32, as large as it was compiled for, arrays of float32, which may be used again at the next call.
Compiled = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], ...]]


class Backend(Protocol):
    """A library that Keras computes with, imported; float32 is computed in float32 everywhere.

    GPUs would by default take fewer bits for it (TensorFloat-32): nothing could be proved against that.
    """

    def bound_gpu_memory(self, most_bytes: int) -> None:
        """Take so much of a GPU's memory at most; before anything is computed."""

    def has_gpu(self) -> bool:
        """Whether networks run on a GPU."""

    def compile(self, forward: Forward, variables: Sequence[Any], shape: Shape) -> Compiled:
        """Make a function of the network's, with its Keras variables, ready for batches of exactly this shape."""


class TensorFlowBackend:
    """One concrete graph for each shape."""

    def __init__(self) -> None:
        import tensorflow

        self._tf = tensorflow
        tensorflow.config.experimental.enable_tensor_float_32_execution(False)

    def bound_gpu_memory(self, most_bytes: int) -> None:
        """See `Backend`; it takes the memory as it needs it, because the worker sets TF_FORCE_GPU_ALLOW_GROWTH."""
        config = self._tf.config
        for gpu in config.list_physical_devices("GPU"):
            limit = config.LogicalDeviceConfiguration(memory_limit=most_bytes // MIB)
            config.set_logical_device_configuration(gpu, [limit])

    def has_gpu(self) -> bool:
        """See `Backend`."""
        return bool(self._tf.config.list_physical_devices("GPU"))

    def graph(self, forward: Forward, shape: Shape) -> Any:
        """The function as a TensorFlow graph; a side of None may be any."""
        return self._tf.function(forward).get_concrete_function(self._tf.TensorSpec(shape, self._tf.float32))

    def compile(self, forward: Forward, variables: Sequence[Any], shape: Shape) -> Compiled:  # noqa: ARG002 - a graph holds its variables
        """See `Backend`."""
        graph, constant = self.graph(forward, shape), self._tf.constant
        return lambda batch: tuple(np.asarray(tensor) for tensor in graph(constant(batch)))


class JaxBackend:
    """Lowered and compiled by XLA ahead of time, for each shape; the shapes share the weights."""

    def __init__(self) -> None:
        import jax

        self._jax: Any = jax

    def bound_gpu_memory(self, most_bytes: int) -> None:
        """See `Backend`; the worker has set XLA_PYTHON_CLIENT_MEM_FRACTION, which is read before this is asked."""

    def has_gpu(self) -> bool:
        """See `Backend`."""
        return bool(self._jax.default_backend() == "gpu")

    def compile(self, forward: Forward, variables: Sequence[Any], shape: Shape) -> Compiled:
        """See `Backend`."""
        import keras

        values = [variable.value for variable in variables]

        def pure(values: Sequence[Any], batch: Any) -> tuple[Any, ...]:
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                return forward(batch)

        batch = self._jax.ShapeDtypeStruct(shape, np.float32)
        with self._jax.default_matmul_precision("highest"):
            compiled = self._jax.jit(pure).lower(values, batch).compile()
        return lambda batch: tuple(np.asarray(array) for array in compiled(values, batch))


class TorchBackend:
    """As Keras calls it, operation by operation: `torch.compile` needs a compiler on the worker."""

    def __init__(self) -> None:
        import torch

        self._torch = torch
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False

    def bound_gpu_memory(self, most_bytes: int) -> None:
        """See `Backend`."""
        if self.has_gpu():
            total = self._torch.cuda.get_device_properties(0).total_memory
            self._torch.cuda.set_per_process_memory_fraction(min(1.0, most_bytes / total))

    def has_gpu(self) -> bool:
        """See `Backend`."""
        return bool(self._torch.cuda.is_available())

    def compile(self, forward: Forward, variables: Sequence[Any], shape: Shape) -> Compiled:  # noqa: ARG002 - nothing is compiled
        """See `Backend`."""
        import keras

        def run(batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
            with self._torch.inference_mode():
                return tuple(tensor.cpu().numpy() for tensor in forward(keras.ops.convert_to_tensor(batch)))

        return run


_BACKENDS: dict[str, Callable[[], Backend]] = {TENSORFLOW: TensorFlowBackend, JAX: JaxBackend, TORCH: TorchBackend}


def backend_name() -> str:
    """What KERAS_BACKEND says; nothing of it is imported."""
    return os.environ.get("KERAS_BACKEND") or TENSORFLOW


def keras_engine_name() -> str:
    """What predictions by Keras name as their engine: `keras`, on another backend than TensorFlow `keras-<backend>`."""
    name = backend_name()
    return KERAS if name == TENSORFLOW else f"{KERAS}-{name}"


def probe(_: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """For a worker that asks its engine's process: whether it computes on a GPU, tried out."""
    backend = this_backend()
    if backend.has_gpu():
        import keras

        keras.ops.convert_to_numpy(keras.ops.matmul(keras.ops.ones((8, 8)), keras.ops.ones((8, 8))))
    return {"gpu": backend.has_gpu()}, b""


@contextmanager
def _left_alone(*packages: str) -> Iterator[None]:
    """Let what is imported here find these missing, unless they are imported already."""
    absent = [name for name in packages if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python is told that there is none
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@functools.cache
def this_backend() -> Backend:
    """The backend of this process, imported and told what it may take of a GPU; raises EngineMissingError."""
    name = backend_name()
    if name not in _BACKENDS:
        raise EngineMissingError(
            f"KERAS_BACKEND is {name[:100]!r}; expected {', '.join(_BACKENDS)}; without it, {TENSORFLOW} is taken"
        )
    # Else a file in the user's home folder would decide what Keras takes.
    os.environ["KERAS_BACKEND"] = name
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _left_alone(*(NEEDLESS - {name})):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise EngineMissingError(
                f"Keras is to run on {name}, which is not installed here; pip install {PACKAGES[name]}, or set "
                "KERAS_BACKEND to another"
            ) from error
        importlib.import_module("keras")
    backend = _BACKENDS[name]()
    if most_bytes := os.environ.get(GPU_MEMORY_VARIABLE):
        backend.bound_gpu_memory(int(most_bytes))
    return backend
