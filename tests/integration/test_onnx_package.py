"""Packages with `.onnx` weights, as PyTorch users have them: registered, proved, served; and malice refused."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select

from shared.db import reading
from shared.errors import EngineMissingError, InvalidModelPackageError
from shared.model_package import load_contract, open_package
from shared.models import Item, Prediction
from shared.reasons import Reason
from tests.cohorts import films
from tests.conftest import Api
from tests.model_samples import contract_fields, zip_package
from tests.onnx_samples import (
    channels_first,
    mean_network,
    onnx_package,
    with_external_tensor,
    with_external_tensor_in_a_branch,
    with_strange_operator,
)
from worker.engines.base import FLOAT32
from worker.engines.compiled import CompiledEngine
from worker.engines.onnxruntime import load_onnxruntime_engine
from worker.engines.openvino import load_openvino_engine
from worker.inference.batch import EngineThread
from worker.inference.decode import Decoder
from worker.prover import Prover
from worker.runtime import Runtime
from worker.tasks import infer_next

ZIP = {"content_type": "application/zip"}
SIZES = [1, 4]
LAYOUTS = ["channels_first", "channels_last"]


def of_layout(layout: str, channels: int = 1) -> dict[str, Any]:
    return channels_first(layout=layout, channels=channels)


def load(folder: Path) -> CompiledEngine:
    contract = open_package(folder, max_bytes=10**8).contract
    return load_onnxruntime_engine(contract, folder / "weights.onnx", SIZES)


def frames(count: int, channels: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(3).random((count, 32, 32, channels), np.float32)


def expected(batch: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-4.0 * (batch.mean(axis=(1, 2, 3), dtype=np.float64) - 0.5)))[:, np.newaxis]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_engines_give_the_probabilities_of_the_contract(tmp_path: Path, layout: str, channels: int) -> None:
    model = mean_network(layout=layout, channels=channels)
    folder = onnx_package(tmp_path / "package", model, input=of_layout(layout, channels))
    contract = open_package(folder, max_bytes=10**8).contract
    batch = frames(7, channels) * np.linspace(0.2, 1.8, 7, dtype=np.float32)[:, None, None, None]

    reference = load(folder)
    fast = load_openvino_engine(contract, folder / "weights.onnx", FLOAT32, SIZES, tmp_path / "cache")

    assert (reference.name, reference.precision) == ("onnxruntime", "float32")
    for engine in (reference, fast):
        np.testing.assert_allclose(engine.predict(batch), expected(batch), atol=1e-5)


def test_layout_is_told_apart(tmp_path: Path) -> None:
    """A network that looks at one corner only answers otherwise when rows and channels are mixed up."""
    from onnx import helper

    model = mean_network(layout="channels_first", channels=3)
    corner = [
        helper.make_node("Slice", ["image", "begin", "end", "axes"], ["corner"]),
        helper.make_node("ReduceMean", ["corner"], ["mean"], axes=[1, 2, 3], keepdims=0),
    ]
    nodes = [*corner, *model.graph.node[1:]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for name, values in {"begin": [0, 0, 0], "end": [1, 8, 8], "axes": [1, 2, 3]}.items():
        model.graph.initializer.append(helper.make_tensor(name, 7, [3], values))
    folder = onnx_package(tmp_path, model, input=of_layout("channels_first", 3))
    batch = frames(4, 3)

    found = load(folder).predict(batch)

    np.testing.assert_allclose(found, expected(batch[:, :8, :8, :1]), atol=1e-5)


@pytest.fixture(autouse=True)
def _short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast engines are is not what these tests ask."""
    monkeypatch.setattr("worker.engines.proof.ROUND_S", 0.01)


@pytest.fixture
def make_runtime(api: Api, tmp_path: Path, decoder: Decoder) -> Iterator[Callable[..., Runtime]]:
    made: list[Runtime] = []

    def make(**changes: Any) -> Runtime:
        limits = {"batch_size": 16, "timeout_s": 120.0, "load_timeout_s": 300.0, "cache": tmp_path / "cache"}
        runtime = Runtime(api.prepared.settings, EngineThread(**limits | changes))
        runtime.decoder.close()
        runtime.decoder = decoder
        made.append(runtime)
        return runtime

    yield make
    for runtime in made:
        runtime.engines.close()
        runtime.engine.dispose()


def register(api: Api, folder: Path) -> None:
    model = mean_network(layout="channels_first")
    package = onnx_package(folder / "model", model, input=of_layout("channels_first"))
    answer = api.post("/api/v1/models", data=zip_package(package, folder / "model.zip").read_bytes(), **ZIP)
    assert answer.status_code == 201, answer.text


def predictions(api: Api) -> list[Prediction]:
    with reading(api.prepared.engine) as session:
        return list(session.scalars(select(Prediction).order_by(Prediction.id)))


def test_package_serves_at_once_and_is_proved_on_stored_images(
    api: Api, make_runtime: Callable[..., Runtime], tmp_path: Path
) -> None:
    register(api, tmp_path)
    runtime = make_runtime()
    assert api.post("/api/v1/jobs", data=films("P", 32), **ZIP).status_code == 202
    infer_next(runtime)
    assert {(one.engine, one.precision) for one in predictions(api)} == {("onnxruntime", "float32")}

    assert Prover(runtime).prove_next()

    (proof,) = api.get("/api/v1/models/sample-binary/versions/1/engines").json["items"]
    rows = {(row["engine"], row["precision"]): row for row in proof["engines"]}
    assert rows["onnxruntime", "float32"]["is_reference"]
    assert rows["openvino", "float32"]["standing"] == "passed"
    assert rows["openvino", "float32"]["max_difference"] < 1e-5


def test_items_say_so_when_the_worker_lacks_the_engine(
    api: Api, make_runtime: Callable[..., Runtime], tmp_path: Path
) -> None:
    register(api, tmp_path)
    runtime = make_runtime(target="tests.engine_targets:load_without_onnx")
    job = api.post("/api/v1/jobs", data=films("P", 2), **ZIP).json

    infer_next(runtime)

    assert api.get(f"/api/v1/jobs/{job['id']}").json["state"] == "failed"
    with reading(api.prepared.engine) as session:
        items = session.scalars(select(Item)).all()
    assert {item.reason for item in items} == {Reason.ENGINE_MISSING}
    assert all("pip install 'overread[onnx]'" in item.detail for item in items)
    # Once it is installed, the same job can be tried again.
    again = api.post(f"/api/v1/jobs/{job['id']}/retry")
    assert again.status_code == 202, again.text
    infer_next(make_runtime())
    assert len(predictions(api)) == 2


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda path: with_external_tensor(mean_network(layout="channels_last"), path), "in other files"),
        (lambda path: with_external_tensor_in_a_branch(mean_network(layout="channels_last"), path), "in other files"),
        (lambda path: with_strange_operator(mean_network(layout="channels_last")), "operators of 'evil.ops'"),
        (lambda path: mean_network(layout="channels_last", batch=1), "a batch of any size"),
        (lambda path: mean_network(layout="channels_first"), "input: the network takes (None, 1, 32, 32)"),
        (lambda path: mean_network(layout="channels_last", outputs=3), "findings: the network gives (None, 3)"),
        (lambda path: mean_network(layout="channels_last", slope=float("nan")), "see that its weights hold no NaN"),
        (lambda path: b"\x08\x07" + b"\xff" * 100, "no valid ONNX model"),
        (lambda path: mean_network(layout="channels_last").SerializeToString()[:-30], "no valid ONNX model"),
    ],
    ids=["external", "external-in-branch", "operator", "batch", "layout", "outputs", "nan", "noise", "cut"],
)
def test_model_is_refused_in_words(tmp_path: Path, model: Callable[[Path], Any], words: str) -> None:
    folder = onnx_package(tmp_path / "package", model(tmp_path / "secret"))

    with pytest.raises(InvalidModelPackageError) as caught:
        load(folder)

    assert words in caught.value.message


def test_openvino_refuses_tensors_in_other_files_too(tmp_path: Path) -> None:
    model = with_external_tensor(mean_network(layout="channels_last"), tmp_path / "secret")
    folder = onnx_package(tmp_path / "package", model)
    contract = open_package(folder, max_bytes=10**8).contract

    with pytest.raises(InvalidModelPackageError, match="in other files"):
        load_openvino_engine(contract, folder / "weights.onnx", FLOAT32, SIZES, tmp_path / "cache")


def test_weights_of_another_digest_are_refused(tmp_path: Path) -> None:
    folder = onnx_package(tmp_path, mean_network(layout="channels_last"))
    contract = open_package(folder, max_bytes=10**8).contract
    (folder / "weights.onnx").write_bytes(mean_network(layout="channels_last", slope=9.0).SerializeToString())

    with pytest.raises(InvalidModelPackageError, match="register the package again"):
        load_onnxruntime_engine(contract, folder / "weights.onnx", SIZES)


def test_clear_message_where_onnx_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    folder = onnx_package(tmp_path, mean_network(layout="channels_last"))
    monkeypatch.setitem(sys.modules, "onnx", None)

    with pytest.raises(EngineMissingError, match=r"overread\[onnx\]"):
        load(folder)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x89HDF"])
def test_api_refuses_what_is_no_onnx(api: Api, tmp_path: Path, data: bytes) -> None:
    package = onnx_package(tmp_path / "model", data)

    answer = api.post("/api/v1/models", data=zip_package(package, tmp_path / "model.zip").read_bytes(), **ZIP)

    assert answer.status_code == 422
    assert "weights.onnx" in answer.json["detail"]


def test_package_of_both_kinds_of_weights_is_refused(tmp_path: Path) -> None:
    folder = onnx_package(tmp_path, mean_network(layout="channels_last"))
    (folder / "weights.keras").write_bytes(io.BytesIO(b"PK").getvalue())

    with pytest.raises(InvalidModelPackageError, match=r"holds weights\.keras, which model\.json does not name"):
        open_package(folder, max_bytes=10**8)


def test_keras_weights_take_channels_last_only() -> None:
    with pytest.raises(InvalidModelPackageError, match=r"channels_first is for weights\.onnx"):
        load_contract(json.dumps(contract_fields(input=of_layout("channels_first"))))
