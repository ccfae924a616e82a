"""The page for data scientists keeps its word: its Python example, run as it stands, makes a package that serves."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.keras_archive import check_keras_archive
from shared.model_contract import ModelContract
from shared.model_package import open_package
from worker.engines.keras import load_keras_engine

PAGE = Path(__file__).parents[2] / "docs" / "model-packages.md"
TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page's example left behind."""
    folder = tmp_path_factory.mktemp("example")
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
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


def test_example_package_opens_when_the_page_is_followed(package: Path) -> None:
    opened = open_package(package, max_bytes=10**8)
    check_keras_archive(package / "weights.keras")

    assert sorted(file.name for file in package.iterdir()) == ["model.json", "weights.keras"]
    assert opened.contract.name == "chest-nodule"
    assert sum(map(len, opened.stream_weights())) == (package / "weights.keras").stat().st_size


def test_example_contract_has_every_field_when_compared_with_the_model(package: Path) -> None:
    written = json.loads((package / "model.json").read_bytes())

    known = ModelContract.model_validate(written).model_dump(mode="json", by_alias=True)

    assert written == known  # what the example leaves out would be filled in here


def test_example_predicts_the_same_when_a_frame_has_another_batch(package: Path) -> None:
    contract = open_package(package, max_bytes=10**8).contract
    engine = load_keras_engine(contract, package / "weights.keras", batch_size=4)
    frames = np.random.default_rng(0).normal(size=(6, 64, 64, 1)).astype(np.float32)

    probabilities = engine.predict(frames)

    assert probabilities.shape == (6, 1)
    assert ((probabilities > 0.0) & (probabilities < 1.0)).all()
    alone = np.concatenate([engine.predict(frames[at : at + 1]) for at in range(len(frames))])
    assert np.array_equal(probabilities.round(6), alone.round(6))


def test_page_names_every_field_when_the_contract_has_one() -> None:
    page = PAGE.read_text()
    table = page[page.index("## Every field") :]

    fields = [info.alias or name for name, info in ModelContract.model_fields.items()]
    kinds = re.findall(r'"const": "([a-z_]+)"', json.dumps(ModelContract.model_json_schema()))

    assert kinds
    assert [name for name in fields if f"`{name}`" not in table] == []
    assert [kind for kind in kinds if f'"kind": "{kind}"' not in table] == []
