"""`bench.gpu` measures wherever Keras and a backend are, with nothing else of what Overread needs."""

import json
import os
import subprocess
import sys
from pathlib import Path

NOT_NEEDED = ("pydantic", "sqlalchemy", "structlog", "pydicom", "celery", "tensorflow", "openvino", "onnx")


def test_gpu_benchmark_measures_a_network_with_keras_and_jax_alone(tmp_path: Path) -> None:
    hidden = f"import sys\nsys.modules.update(dict.fromkeys({NOT_NEEDED!r}))\n"
    (tmp_path / "sitecustomize.py").write_text(hidden)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "KERAS_BACKEND": "jax"}
    arguments = ["--one", "mission-cnn", "mixed_bfloat16", "--rounds", "1"]

    run = subprocess.run(
        [sys.executable, "-m", "bench.gpu", *arguments],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["kind"] in ("cpu", "gpu")
    assert min(found["rates"].values()) > 0
    assert 0 < found["distance"] < 0.1
