"""The reference engine: Keras on one of its backends, the network compiled once for each size of batch."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from shared.errors import EngineMissingError, InvalidModelPackageError
from shared.keras_archive import (
    ARCHIVE_NAMES,
    CONFIG_FILE,
    HDF5_FILE,
    LABEL,
    MAX_ARCHIVE_BYTES,
    MAX_CONFIG_BYTES,
    check_keras_archive,
)
from shared.model_contract import ModelContract
from shared.model_zip import CHUNK_BYTES, open_model_zip
from worker.engines.backends import (
    Compiled,
    Forward,
    TensorFlowBackend,
    backend_name,
    keras_engine_name,
    this_backend,
)
from worker.engines.base import FLOAT32, is_memory_exhausted
from worker.engines.compiled import CompiledEngine, Frames, Run, in_turn
from worker.engines.heads import PoolingHead, pooling_head
from worker.engines.maps import fits
from worker.engines.mixed import MIXED, in_mixed_precision
from worker.engines.shapes import check_input, check_outputs, input_shape
from worker.engines.skeleton import check_network_size
from worker.engines.weights import check_hdf5_weights


def load_keras_engine(
    contract: ModelContract, weights_path: Path, batch_sizes: Sequence[int], precision: str = FLOAT32
) -> CompiledEngine:
    """Verify the weights, load them and make them ready to predict.

    Raises InvalidModelPackageError, EngineMissingError. The reference computes as the network was saved, which is
    called float32; one of MIXED needs a GPU.
    """
    backend = this_backend()
    if precision in MIXED and not backend.has_gpu():
        raise EngineMissingError(f"{precision} is for GPUs, and Keras on {backend_name()} sees none")
    network = load_network(contract, weights_path, batch_size=max(batch_sizes))
    if precision in MIXED:
        network = in_mixed_precision(network, precision)
    else:
        precision = "+".join(sorted({layer.compute_dtype for layer in network.layers}))
    head = _kept_head(network)
    runs = _runs(contract, network, head, batch_sizes)
    map_shape = head.map_shape if head else None
    engine = CompiledEngine(
        contract, runs, in_turn(runs), name=keras_engine_name(), precision=precision, map_shape=map_shape
    )
    engine.prove()
    return engine


def load_network(contract: ModelContract, weights_path: Path, *, batch_size: int) -> Any:
    """The Keras network of a package, verified.

    What was copied and hashed is what is checked and loaded; nothing that the file names is imported or run before
    every check has passed. Raises InvalidModelPackageError.
    """
    with TemporaryDirectory(prefix="overread-model-") as folder:
        copy = Path(folder) / "weights.keras"
        _copy_verified(weights_path, copy, contract.weights.sha256)
        check_keras_archive(copy)
        network = _load_archive(copy, Path(folder) / HDF5_FILE, batch_size=batch_size)
    _check_shapes(contract, network)
    return network


def _kept_head(network: Any) -> PoolingHead | None:
    """The head from which heat maps come together with the outputs; None where they do not."""
    head = pooling_head(network)
    return head if head and fits(head.kernel.shape[1], *head.map_shape) else None


def concrete_graph(contract: ModelContract, network: Any, batch_size: int | None) -> Any:
    """One TensorFlow graph of the network for batches of exactly this size, or of any; `_forward` says what it gives.

    Raises EngineMissingError where Keras is on another backend.
    """
    backend = this_backend()
    if not isinstance(backend, TensorFlowBackend):
        raise EngineMissingError(
            "this engine is made from TensorFlow's graph of the network; a worker without "
            f"KERAS_BACKEND={backend_name()} makes it"
        )
    return backend.graph(_forward(network, _kept_head(network)), input_shape(contract, batch_size))


def _forward(network: Any, head: PoolingHead | None) -> Forward:
    """What the network does with a batch when it predicts, in any backend's tensors.

    Of float32 frames it gives float32 outputs (batch, outputs) and, where the head allows it, their class activation
    maps (batch, outputs, map rows, map columns): B. Zhou et al., DOI 10.1109/CVPR.2016.319.
    """
    import keras

    # One tensor in and one out, even where the saved network has a list or a dict of one.
    outputs = [network.outputs[0], *([head.features] if head else [])]
    single = keras.Model(network.inputs[0], outputs)

    def forward(batch: Any) -> tuple[Any, ...]:
        tensors = keras.tree.flatten(single(batch, training=False))
        output, *features = [keras.ops.cast(tensor, "float32") for tensor in tensors]
        maps = [keras.ops.matmul(tensor, head.kernel) for tensor in features if head]
        return (output, *(keras.ops.transpose(one, (0, 3, 1, 2)) for one in maps))

    return forward


def _runs(
    contract: ModelContract, network: Any, head: PoolingHead | None, batch_sizes: Sequence[int]
) -> dict[int, Run]:
    forward = _forward(network, head)
    compile_for, variables = this_backend().compile, network.variables
    return {size: _run_in(compile_for(forward, variables, input_shape(contract, size))) for size in batch_sizes}


def _run_in(graph: Compiled) -> Run:
    def run(batch: Frames) -> tuple[Frames, Frames | None]:
        output, *maps = graph(batch)
        return output, maps[0] if maps else None

    return run


def _copy_verified(source: Path, target: Path, sha256: str) -> None:
    seen = hashlib.sha256()
    try:
        with source.open("rb") as reader, target.open("wb") as writer:
            while chunk := reader.read(CHUNK_BYTES):
                seen.update(chunk)
                writer.write(chunk)
    except FileNotFoundError as error:
        raise InvalidModelPackageError("the stored weights are gone; register the package again") from error
    if seen.hexdigest() != sha256:
        raise InvalidModelPackageError(
            f"the weights have sha256 {seen.hexdigest()}, the contract says {sha256}; they are not loaded: "
            "register the package again"
        )


def import_keras() -> Any:
    """Keras on the backend that KERAS_BACKEND names, or TensorFlow; the first time this takes seconds.

    Raises EngineMissingError.
    """
    this_backend()
    import keras

    return keras


def _load_archive(path: Path, scratch: Path, *, batch_size: int) -> Any:
    """Load a file that has passed `check_keras_archive`, once its inside is known to be what it says."""
    keras = import_keras()
    config, stored_values = _inspect(path, scratch)
    try:
        check_network_size(config, stored_values, batch_size=batch_size)
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except InvalidModelPackageError:
        raise
    except Exception as error:  # whatever a layer raises, the package is at fault
        if is_memory_exhausted(error):
            raise
        raise InvalidModelPackageError(
            f"Keras {keras.__version__} cannot load the weights ({type(error).__name__}: {str(error)[:300]}); "
            "save the model again with this version"
        ) from error


def _inspect(path: Path, scratch: Path) -> tuple[dict[str, Any], int]:
    """The network's `config.json`, and how many numbers its weights hold."""
    with open_model_zip(path, label=LABEL, names=ARCHIVE_NAMES, max_bytes=MAX_ARCHIVE_BYTES) as archive:
        config = json.loads(archive.read(CONFIG_FILE, max_bytes=MAX_CONFIG_BYTES))
        with scratch.open("wb") as writer:
            for chunk in archive.stream(HDF5_FILE):
                writer.write(chunk)
    return config, check_hdf5_weights(scratch)


def _check_shapes(contract: ModelContract, network: Any) -> None:
    """Compare the network's input and output with the contract, in words."""
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise InvalidModelPackageError(
            f"the network has {len(network.inputs)} inputs and {len(network.outputs)} outputs; give it 1 of each"
        )
    check_input(contract, tuple(network.inputs[0].shape))
    check_outputs(contract, tuple(network.outputs[0].shape))
    _check_output(contract, network.outputs[0]._keras_history.operation)


def _check_output(contract: ModelContract, last: Any) -> None:
    name = getattr(getattr(last, "activation", None), "__name__", type(last).__name__).lower()
    if contract.output == "logits" and name in ("sigmoid", "softmax"):
        raise InvalidModelPackageError(
            f"output: 'logits' is stated, but the network ends in {name}; state 'probabilities'"
        )
