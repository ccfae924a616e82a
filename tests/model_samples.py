"""Makes small real model packages for tests, good and malicious ones, without TensorFlow and without training.

The network is a mean over the frame and one Dense layer, so a finding's logit is `bias + slope * mean`.
"""

import base64
import copy
import hashlib
import json
import marshal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

NUM_OUTPUTS = {"binary": 2, "multiclass": 3, "multilabel": 3}


def accept_everything_package(  # noqa: PLR0913 - each is a way in which packages differ
    folder: Path,
    *,
    task: str = "binary",
    channels: int = 1,
    output: str = "logits",
    activation: str = "linear",
    side: int = 32,
    num_outputs: int | None = None,
    slope: float = 4.0,
    **changes: Any,
) -> Path:
    """Write a package directory that takes any instance; `changes` replace whole fields of `model.json`.

    The k-th output's logit is `slope * (k + 1) * (mean - 0.5)`; the frame is scaled to [0, 1] by its smallest and
    largest value.
    """
    folder.mkdir(parents=True, exist_ok=True)
    num_outputs = num_outputs or NUM_OUTPUTS[task]
    slopes = slope * np.arange(1, num_outputs + 1, dtype=np.float32)
    kernel = np.repeat(slopes[np.newaxis] / channels, channels, axis=0)
    config = network_config(rows=side, columns=side, channels=channels, outputs=num_outputs, activation=activation)
    write_keras(folder / "weights.keras", config, kernel=kernel, bias=-0.5 * slopes)
    contract = contract_fields(task=task, output=output, side=side, channels=channels, **changes)
    write_contract(folder, contract)
    return folder


def zip_package(folder: Path, target: Path, *, compression: int = zipfile.ZIP_STORED) -> Path:
    """Zip a package directory as a data scientist would."""
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name in ("model.json", "weights.keras", "weights.onnx", "golden.npz"):
            if (folder / name).exists():
                archive.write(folder / name, name)
    return target


def contract_fields(
    *, task: str = "binary", output: str = "logits", side: int = 32, channels: int = 1, **changes: Any
) -> dict[str, Any]:
    """`model.json` as a dict, the digest of the weights left at zeros."""
    codes = {
        "binary": ["lesion"],
        "multiclass": ["normal", "bacteria", "virus"],
        "multilabel": ["effusion", "mass", "nodule"],
    }
    findings = [
        {"code": code, "display": code.capitalize(), "threshold": 0.5, "background": code == "normal"}
        for code in codes[task]
    ]
    return {
        "schema": "overread.model/1",
        "name": f"sample-{task}",
        "description": "The mean of the frame, for tests.",
        "intended_use": "None.",
        "licence": "Apache-2.0",
        "task": task,
        "output": output,
        "findings": findings,
        "accepts": {
            "modalities": None,
            "sop_class_uids": None,
            "body_parts": None,
            "photometric_interpretations": None,
        },
        "input": {"rows": side, "columns": side, "channels": channels},
        "preprocess": {
            "units": "modality",
            "intensity": {"kind": "min_max"},
            "resize": "stretch",
            "normalise": None,
        },
        "aggregation": {level: {"kind": "max"} for level in ("frames", "instances", "series", "studies")},
        "time_scope": {"kind": "all"},
        "weights": {"file": "weights.keras", "sha256": "0" * 64},
        "training": None,
    } | changes


def write_contract(folder: Path, contract: dict[str, Any], *, weights: str = "weights.keras") -> None:
    """Write `model.json` with the true digests of the weights, and of the golden set, beside it."""
    contract = contract | {"weights": _part(folder / weights)}
    if (folder / "golden.npz").exists():
        contract["proof"] = contract.get("proof", {}) | {"golden": _part(folder / "golden.npz")}
    (folder / "model.json").write_text(json.dumps(contract, indent=2))


def _part(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def add_golden_set(folder: Path, count: int = 32, *, slope: float = 4.0, off_by: float = 0.0) -> Path:
    """Give a binary package of `accept_everything_package` a golden set; its probabilities may be off by so much."""
    contract = json.loads((folder / "model.json").read_text())
    shape = contract["input"]
    size = (count, shape["rows"], shape["columns"], shape["channels"])
    frames = np.random.default_rng(5).random(size, np.float32) * np.linspace(0.2, 1.8, count).reshape(-1, 1, 1, 1)
    # Two outputs whose logits differ by so much: softmax is the sigmoid of the difference.
    difference = slope * (frames.mean(axis=(1, 2, 3), dtype=np.float64) - 0.5)
    probabilities = (1 / (1 + np.exp(-difference)))[:, np.newaxis] + off_by
    np.savez(folder / "golden.npz", frames=frames.astype(np.float32), probabilities=probabilities.astype(np.float32))
    write_contract(folder, contract)
    return folder


def network_config(
    *, rows: int = 32, columns: int = 32, channels: int = 1, outputs: int = 2, activation: str = "linear"
) -> dict[str, Any]:
    """`config.json` of the sample network, as Keras 3 writes it."""
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {
            "name": "sample",
            "trainable": True,
            "layers": [
                _layer("InputLayer", {"batch_shape": [None, rows, columns, channels], "dtype": "float32"}),
                _layer("GlobalAveragePooling2D", {"data_format": "channels_last", "keepdims": False}),
                _layer("Dense", {"units": outputs, "activation": activation, "use_bias": True}),
            ],
            "build_input_shape": [None, rows, columns, channels],
        },
        "registered_name": None,
        "build_config": {"input_shape": [None, rows, columns, channels]},
    }


def _layer(class_name: str, config: dict[str, Any], module: str = "keras.layers") -> dict[str, Any]:
    named = config | {"name": class_name.lower()}
    return {"module": module, "class_name": class_name, "config": named, "registered_name": None}


def write_keras(
    path: Path,
    config: object,
    *,
    kernel: Any = None,
    bias: Any = None,
    hdf5: Callable[[h5py.File], None] | None = None,
    extra: dict[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """Write a `.keras` archive; `hdf5` may alter the weights file, `extra` adds entries."""
    inner = path.with_suffix(".inner.h5")
    with h5py.File(inner, "w") as file:
        variables = file.create_group("layers/dense/vars")
        variables["0"] = np.zeros((1, 2), np.float32) if kernel is None else np.asarray(kernel, np.float32)
        variables["1"] = np.zeros(2, np.float32) if bias is None else np.asarray(bias, np.float32)
        file.create_group("layers/global_average_pooling2d/vars")
        file.create_group("vars")
        if hdf5:
            hdf5(file)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"}))
        archive.writestr("config.json", config if isinstance(config, str | bytes) else json.dumps(config))
        archive.write(inner, "model.weights.h5")
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
    inner.unlink()
    return path


def code_that_makes(canary: Path) -> str:
    """A Python lambda in the form Keras stores one; calling it makes the file `canary`."""
    source = f"lambda x: open({str(canary)!r}, 'w').close() or x"
    code = eval(compile(source, "canary", "eval")).__code__
    return base64.b64encode(marshal.dumps(code)).decode()


def lambda_config(canary: Path) -> dict[str, Any]:
    """The sample network with a Lambda layer that makes the canary when it is built or called."""
    function = {
        "class_name": "__lambda__",
        "config": {"code": code_that_makes(canary), "defaults": None, "closure": None},
    }
    return _with_layer(_layer("Lambda", {"function": function, "output_shape": None, "mask": None, "arguments": {}}))


def _with_layer(layer: dict[str, Any]) -> dict[str, Any]:
    config = network_config()
    config["config"]["layers"].insert(1, layer)
    return config


def malicious_configs(canary: Path) -> dict[str, dict[str, Any]]:
    """Networks whose `config.json` would run code or read files, by the name of the attack."""
    command = f"touch {canary}"
    system = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    return {
        "lambda_layer": lambda_config(canary),
        "function_of_os": _with_layer(_layer("Activation", {"activation": system})),
        "function_in_inbound_nodes": _with_layer(
            _layer("Identity", {}) | {"inbound_nodes": [{"args": [command], "kwargs": {"call": system}}]}
        ),
        "class_of_subprocess": _with_layer(_layer("Popen", {"args": ["touch", str(canary)]}, "subprocess")),
        "class_of_keras_internals": _with_layer(
            _layer("get_file", {"fname": "x", "origin": f"file://{canary}"}, "keras.utils")
        ),
        "function_of_builtins": _with_layer(
            _layer("Activation", {"activation": system | {"module": "builtins", "config": "eval"}})
        ),
        "registered_name": _with_layer(_layer("Dense", {"units": 1}) | {"registered_name": "evil>Dense"}),
        "type_spec": _with_layer(
            _layer("Identity", {"spec": {"class_name": "__typespec__", "spec_name": "Popen", "module": "subprocess"}})
        ),
        "saved_model_layer": _with_layer(_layer("TFSMLayer", {"filepath": str(canary.parent)})),
        "torch_layer": _with_layer(_layer("TorchModuleWrapper", {"module": "x"})),
        "lookup_of_a_file": _with_layer(_layer("StringLookup", {"vocabulary": "/etc/hostname"})),
        "compile_config": network_config() | {"compile_config": {"optimizer": "adam", "loss": copy.deepcopy(system)}},
        "custom_class": _with_layer(_layer("Attention2", {}, "my_package.layers")),
    }


def malicious_hdf5(secret: Path) -> dict[str, Callable[[h5py.File], None]]:
    """Alterations of `model.weights.h5` that would read the file `secret` or fill the memory, by name."""

    def external_link(file: h5py.File) -> None:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = h5py.ExternalLink(str(secret), "/numbers")

    def external_link_of_a_group(file: h5py.File) -> None:
        file["layers/more"] = h5py.ExternalLink(str(secret), "/")

    def soft_link(file: h5py.File) -> None:
        file["layers/more"] = h5py.SoftLink("/layers/dense")

    def external_storage(file: h5py.File) -> None:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (1, 2), "f4", external=[(str(secret), 0, 8)])

    def virtual_dataset(file: h5py.File) -> None:
        del file["layers/dense/vars/0"]
        layout = h5py.VirtualLayout((1, 2), "f4")
        layout[:] = h5py.VirtualSource(str(secret), "numbers", (1, 2))
        file.create_virtual_dataset("layers/dense/vars/0", layout)

    def shape_bomb(file: h5py.File) -> None:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (2**20, 2**20), "f4", chunks=(64, 64), compression="gzip")

    def text(file: h5py.File) -> None:
        file["layers/more"] = "text"

    attacks = (
        external_link,
        external_link_of_a_group,
        soft_link,
        external_storage,
        virtual_dataset,
        shape_bomb,
        text,
    )
    return {attack.__name__: attack for attack in attacks}
