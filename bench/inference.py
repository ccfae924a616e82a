"""Inference: the engine against OpenVINO's own loop, the whole product against the engine and against a script.

`python -m bench.inference` takes about half an hour on two cores; `--quick` two minutes, with the small network only.
Every way works on the same 512 x 512 images of 16 bit, four a patient; the ways take turns, and medians count.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.harness import report
from bench.inference_models import MODELS, make_model
from bench.inference_product import Product, Reading
from bench.inference_work import Cohort, make_images
from bench.inference_yardsticks import Yardsticks
from bench.servers import scratch_folder

COLUMNS = ("what", "mission-cnn", "densenet-121")
WAYS = ("OpenVINO's own loop", "engine alone", "a script: pydicom, model.predict", "product, job to last report")
RATIOS = {
    "engine_vs_best": ("engine alone", "OpenVINO's own loop"),
    "product_vs_engine": ("product, job to last report", "engine alone"),
    "product_vs_script": ("product, job to last report", "a script: pydicom, model.predict"),
}


def main() -> None:
    """Measure, print, write bench/results/inference.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--instances", type=int, help="instances of each round")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    names = ("mission-cnn",) if chosen.quick else tuple(MODELS)
    count = chosen.instances or (400 if chosen.quick else 2000)
    with scratch_folder() as folder:
        found = {name: measure(folder / name, name, count, chosen.rounds) for name in names}
    rows, ratios = _rows(found), {}
    for name, (over, under) in RATIOS.items():
        for model, reading in found.items():
            ratios[name if model == names[-1] else f"{name}_{model}"] = round(
                _rate(reading, over) / _rate(reading, under), 3
            )
    report("inference", COLUMNS, rows, ratios, instances=count, rounds=chosen.rounds)


def measure(folder: Path, name: str, count: int, rounds: int) -> dict[str, Any]:
    """Frames per second of each way in each round, what serves, and how the answers agree."""
    folder.mkdir()
    images = make_images()
    model = make_model(name, folder / "model", images)
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    checks: list[Reading] = []
    with Product(model) as product:
        yardsticks = Yardsticks(model, product.serving, folder / "cache")
        for number in range(rounds):
            cohort = Cohort(folder / f"cohort-{number}", images, count, number)
            product.upload(cohort)
            frames = yardsticks.ready(cohort)
            ways: Sequence[Callable[[], float]] = (
                lambda frames=frames: yardsticks.openvino_loop(frames),
                lambda frames=frames: yardsticks.engine(frames),
                lambda cohort=cohort: yardsticks.script(cohort),
                lambda cohort=cohort: product.run(cohort),
            )
            for way, run in zip(WAYS, ways, strict=True):
                rates[way].append(count / run())
            checks.append(product.compare(cohort, yardsticks.answers))
            cohort.remove()
    return {"rates": rates, "serving": product.serving, "checks": checks}


def _ratio(found: dict[str, Any], name: str) -> float:
    over, under = RATIOS[name]
    return _rate(found, over) / _rate(found, under)


def _rate(found: dict[str, Any], way: str) -> float:
    return median(found["rates"][way])


def _rows(found: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    def row(what: str, tell: Callable[[dict[str, Any]], str]) -> tuple[str, ...]:
        return (what, *(tell(found[name]) if name in found else "not run" for name in COLUMNS[1:]))

    rows = [row(f"{way}, frames/s", lambda one, way=way: f"{_rate(one, way):.1f}") for way in WAYS]  # type: ignore[misc]
    rows += [row(name, lambda one, name=name: f"{_ratio(one, name):.2f}") for name in RATIOS]  # type: ignore[misc]
    rows.append(row("serves", lambda one: "{engine} in {precision}".format(**one["serving"])))
    rows.append(row("frames repeated by the reference", lambda one: f"{max(c.repeated for c in one['checks']):.2%}"))
    rows.append(row("largest difference of a probability", lambda one: f"{max(c.distance for c in one['checks']):.1e}"))
    rows.append(row("decisions that differ", lambda one: str(sum(c.differ for c in one["checks"]))))
    return rows


if __name__ == "__main__":
    main()
