"""Looks into a `.keras` file without Keras, so that no code can come with the weights: an allow-list, not a filter.

Keras's `safe_mode` was passed by before (CVE-2025-1550, CVE-2025-8747); hence everything that `config.json` names must
be a plain Keras class of the list below, before Keras sees the file.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.errors import InvalidModelPackageError
from shared.model_zip import open_model_zip

CONFIG_FILE = "config.json"
METADATA_FILE = "metadata.json"
HDF5_FILE = "model.weights.h5"
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_CONFIG_BYTES = 4 * 1024 * 1024
MAX_METADATA_BYTES = 64 * 1024
MAX_DEPTH = 100
MAX_ARCHIVE_BYTES = 4096 * 1024 * 1024
LABEL = "weights.keras"

ARCHIVE_NAMES = frozenset({CONFIG_FILE, METADATA_FILE, HDF5_FILE})

_IDENTIFYING_KEYS = frozenset({"class_name", "module", "registered_name", "spec_name"})
_VALUE_MARKERS = frozenset({"__keras_tensor__", "__tensor__", "__numpy__", "__slice__", "__ellipsis__"})

# Left out on purpose: what carries or names code (Lambda, TFSMLayer, TorchModuleWrapper, JaxLayer, FlaxLayer, Wrapper,
# Pipeline, Map, Scan, WhileLoop, ...) and what reads files (the lookup and vectorisation layers).
_ALLOWED: dict[str, frozenset[str]] = {
    module: frozenset(names.split())
    for module, names in {
        "keras": "DTypePolicy Sequential",
        "keras.src.models.functional": "Functional",
        "keras.layers": """
            Activation ActivityRegularization AdaptiveAveragePooling2D AdaptiveMaxPooling2D Add AdditiveAttention
            AlphaDropout Attention Average AveragePooling1D AveragePooling2D BatchNormalization CenterCrop Concatenate
            Conv1D Conv2D Conv2DTranspose Cropping2D Dense DepthwiseConv2D Dot Dropout ELU EinsumDense Embedding
            Flatten GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D
            GlobalMaxPooling2D GroupNormalization GroupQueryAttention Identity InputLayer LayerNormalization LeakyReLU
            MaxPooling1D MaxPooling2D Maximum Minimum MultiHeadAttention Multiply Normalization PReLU Permute
            RMSNormalization RandomBrightness RandomContrast RandomCrop RandomFlip RandomRotation RandomTranslation
            RandomZoom ReLU RepeatVector Rescaling Reshape Resizing SeparableConv2D Softmax SpatialDropout2D
            SpectralNormalization Subtract UnitNormalization UpSampling2D ZeroPadding2D""",
        "keras.src.applications.convnext": "LayerScale",
        "keras.activations": """
            celu elu exponential gelu hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear log_sigmoid
            log_softmax mish relu relu6 selu sigmoid silu softmax softplus softsign swish tanh""",
        "keras.initializers": """
            Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones Orthogonal
            OrthogonalInitializer RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros""",
        "keras.regularizers": "L1 L1L2 L2 OrthogonalRegularizer",
        "keras.constraints": "MaxNorm MinMaxNorm NonNeg UnitNorm",
        "keras.losses": """
            BinaryCrossentropy BinaryFocalCrossentropy CategoricalCrossentropy CategoricalFocalCrossentropy
            CategoricalHinge Dice Hinge Huber KLDivergence MeanAbsoluteError MeanSquaredError
            SparseCategoricalCrossentropy SquaredHinge Tversky""",
        "keras.metrics": """
            AUC Accuracy BinaryAccuracy BinaryCrossentropy CategoricalAccuracy CategoricalCrossentropy F1Score
            FBetaScore FalseNegatives FalsePositives Mean MeanAbsoluteError MeanSquaredError Precision
            PrecisionAtRecall Recall RecallAtPrecision SensitivityAtSpecificity SparseCategoricalAccuracy
            SparseCategoricalCrossentropy SparseTopKCategoricalAccuracy SpecificityAtSensitivity
            TopKCategoricalAccuracy TrueNegatives TruePositives""",
        "keras.optimizers": "Adadelta Adafactor Adagrad Adam AdamW Adamax Lamb Lion Muon Nadam RMSprop SGD",
        "keras.optimizers.schedules": """
            CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay
            PolynomialDecay""",
        "keras.src.ops.numpy": """
            Absolute Add Amax Amin Average Clip Concatenate Divide DivideNoNan Exp ExpandDims Flip GetItem Log Log1p
            Matmul Max Maximum Mean Min Minimum Moveaxis Multiply Negative Pad Power Prod Reshape Roll Sqrt Square
            Squeeze Stack Std Subtract Sum Swapaxes Take Tanh Transpose TrueDivide Var""",
        "keras.src.ops.nn": """
            AveragePool BatchNorm Celu Elu Gelu HardSigmoid HardSilu HardTanh LayerNorm LeakyRelu LogSigmoid LogSoftmax
            MaxPool Moments Normalize RMSNorm Relu Relu6 Selu Sigmoid Silu Softmax Softplus Softsign""",
        "keras.src.ops.core": "Cast StopGradient",
        "keras.src.ops.image": "RGBToGrayscale Resize",
        "keras.src.ops.math": "Erf Logsumexp Rsqrt",
    }.items()
}


def check_keras_archive(path: Path, *, max_bytes: int = MAX_ARCHIVE_BYTES) -> None:
    """Raise InvalidModelPackageError unless the file is a `.keras` archive of plain Keras classes and weights.

    Bounds every size first; reads `config.json` as data; runs and imports nothing that the file names. The inside of
    `model.weights.h5` is checked where HDF5 is read (`worker/engines/weights.py`).
    """
    _check_magic(path)
    with open_model_zip(path, label=LABEL, names=ARCHIVE_NAMES, max_bytes=max_bytes) as archive:
        _read_json(archive.read(METADATA_FILE, max_bytes=MAX_METADATA_BYTES), METADATA_FILE)
        config = _read_json(archive.read(CONFIG_FILE, max_bytes=MAX_CONFIG_BYTES), CONFIG_FILE)
        if not next(archive.stream(HDF5_FILE), b"").startswith(HDF5_SIGNATURE):
            raise InvalidModelPackageError(f"{LABEL}: {HDF5_FILE} is not HDF5; save the model again with Keras 3")
    if not (isinstance(config, dict) and config.get("class_name") in ("Functional", "Sequential")):
        raise InvalidModelPackageError(
            f"{LABEL}: {CONFIG_FILE} must describe a Functional or Sequential model; a subclassed one carries code: "
            "build it as keras.Model(inputs, outputs)"
        )
    for named in _named_objects(config):
        _check_named(named)


def _check_magic(path: Path) -> None:
    with path.open("rb") as handle:
        magic = handle.read(8)
    if magic == HDF5_SIGNATURE:
        raise InvalidModelPackageError(f"{LABEL} is an HDF5 file (.h5); save it again with model.save('name.keras')")
    if magic[:1] == b"\x80":
        raise InvalidModelPackageError(f"{LABEL} is a pickle, which is never loaded; save it as .keras with Keras 3")


def _read_json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidModelPackageError(
            f"{LABEL}: {name} cannot be read as JSON ({type(error).__name__}); save the model again with Keras 3"
        ) from error


def _named_objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every object of the tree that names a class, a function or a module, wherever it stands."""
    waiting = [(config, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise InvalidModelPackageError(f"{LABEL}: {CONFIG_FILE} is nested deeper than {MAX_DEPTH}")
        if isinstance(value, dict):
            if not _IDENTIFYING_KEYS.isdisjoint(value):
                yield value
            waiting.extend((inner, depth + 1) for inner in value.values())
        elif isinstance(value, list):
            waiting.extend((inner, depth + 1) for inner in value)


def _check_named(named: dict[str, Any]) -> None:
    module, name = named.get("module"), named.get("class_name")
    if name == "function":
        name = named.get("config")
    if not isinstance(name, str) or not isinstance(module, str | None):
        allowed = False
    elif module is None:
        allowed = name in _VALUE_MARKERS
    else:
        allowed = name in _ALLOWED.get(module, ())
    if not allowed or named.get("registered_name") not in (None, name):
        shown = ", ".join(f"{key} {str(named[key])[:80]!r}" for key in sorted(_IDENTIFYING_KEYS & named.keys()))
        raise InvalidModelPackageError(
            f"{LABEL}: {CONFIG_FILE} names {shown}, which is not on the list of plain Keras classes "
            "(shared/keras_archive.py): no code may come with the weights; build the network from built-in layers"
        )
