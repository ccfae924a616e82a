"""The page for data scientists keeps its word: its Python example, run as it stands, makes a package that serves."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.golden_set import read_golden_set
from shared.keras_archive import check_keras_archive
from shared.model_contract import ModelContract
from shared.model_package import open_package
from tests.onnx_samples import mean_network, onnx_package
from worker.engines.keras import load_keras_engine
from worker.engines.onnxruntime import load_onnxruntime_engine

PAGE = Path(__file__).parents[2] / "docs" / "model-packages.md"
TIMEOUT_S = 120.0


WITH_KERAS, WITH_PYTORCH, CONTRACT = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def run_example(folder: Path, example: str) -> Path:
    """The package that the example leaves behind."""
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
    run = subprocess.run(
        [sys.executable, "-c", example],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return folder / "package"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page's example for Keras left behind."""
    return run_example(tmp_path_factory.mktemp("example"), WITH_KERAS + CONTRACT)


def test_example_package_opens_when_the_page_is_followed(package: Path) -> None:
    opened = open_package(package, max_bytes=10**8)
    check_keras_archive(package / "weights.keras")

    assert sorted(file.name for file in package.iterdir()) == ["golden.npz", "model.json", "weights.keras"]
    assert opened.contract.name == "chest-nodule"
    assert sum(map(len, opened.stream(opened.contract.weights))) == (package / "weights.keras").stat().st_size


def test_example_contract_has_every_field_when_compared_with_the_model(package: Path) -> None:
    written = json.loads((package / "model.json").read_bytes())

    known = ModelContract.model_validate(written).model_dump(mode="json", by_alias=True)

    assert written == known  # what the example leaves out would be filled in here


def test_example_predicts_the_same_when_a_frame_has_another_batch(package: Path) -> None:
    contract = open_package(package, max_bytes=10**8).contract
    engine = load_keras_engine(contract, package / "weights.keras", batch_sizes=[4])
    frames = np.random.default_rng(0).normal(size=(6, 64, 64, 1)).astype(np.float32)

    probabilities = engine.predict(frames)

    assert probabilities.shape == (6, 1)
    assert ((probabilities > 0.0) & (probabilities < 1.0)).all()
    alone = np.concatenate([engine.predict(frames[at : at + 1]) for at in range(len(frames))])
    assert np.array_equal(probabilities.round(6), alone.round(6))


def test_example_golden_set_is_what_the_engine_gives(package: Path) -> None:
    contract = open_package(package, max_bytes=10**8).contract
    engine = load_keras_engine(contract, package / "weights.keras", batch_sizes=[16])

    golden = read_golden_set(package / "golden.npz", contract)

    np.testing.assert_allclose(engine.predict(golden.frames), golden.probabilities, atol=1e-5)


def test_contract_of_the_example_holds_for_onnx_as_well(tmp_path: Path) -> None:
    """PyTorch is not installed for tests: what it exports is made here, its part of the example only read."""
    compile(WITH_PYTORCH, "page", "exec")
    assigned = re.search(r'^weights, layout = "(.+)", "(.+)"$', WITH_PYTORCH, re.MULTILINE)
    assert assigned is not None
    weights, layout = assigned.groups()
    made = onnx_package(tmp_path / "package", mean_network(side=64, outputs=1, layout=layout))
    (made / "model.json").unlink()
    np.savez(
        made / "golden.npz", frames=np.zeros((1, 64, 64, 1), np.float32), probabilities=np.ones((1, 1), np.float32)
    )
    given = f"import pathlib; package = pathlib.Path('package'); weights, layout = {weights!r}, {layout!r}\n"

    contract = open_package(run_example(tmp_path, given + CONTRACT), max_bytes=10**8).contract
    engine = load_onnxruntime_engine(contract, made / weights, batch_sizes=[4])

    assert engine.predict(np.full((1, 64, 64, 1), 0.5, np.float32)) == pytest.approx(0.5)


def test_page_names_every_field_when_the_contract_has_one() -> None:
    page = PAGE.read_text()
    table = page[page.index("## Every field") :]

    fields = [info.alias or name for name, info in ModelContract.model_fields.items()]
    kinds = re.findall(r'"const": "([a-z_]+)"', json.dumps(ModelContract.model_json_schema()))

    assert kinds
    assert [name for name in fields if f"`{name}`" not in table] == []
    assert [kind for kind in kinds if f'"kind": "{kind}"' not in table] == []
