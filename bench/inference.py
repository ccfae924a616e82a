"""Inference: the engine against OpenVINO's own loop, the whole product against the engine, a script and Ray Data.

`python -m bench.inference` takes about an hour on two cores; `--quick` two minutes, with the small network only and
nothing written. Every way works on the same 512 x 512 images of 16 bit, four a patient; the ways take turns, and
medians count.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.harness import report
from bench.inference_models import MODELS, Model, make_model
from bench.inference_product import Product, Reading
from bench.inference_ray import RayData
from bench.inference_stages import Stages, decode_and_preprocess, second_core
from bench.inference_work import CODINGS, UNCOMPRESSED, Cohort, Images, make_images
from bench.inference_yardsticks import Yardsticks
from bench.servers import scratch_folder

LOOP, ENGINE, SCRIPT, RAY = "OpenVINO's own loop", "engine alone", "script: pydicom, model.predict", "Ray Data"
PRODUCT, POSTED = "product: job to last report", "product: upload to last report"
ONE, SMALL = "product: one job, queued", "product: a job for each instance, queued"
RATIOS = {
    "engine_vs_best": (ENGINE, LOOP),
    "product_vs_engine": (PRODUCT, ENGINE),
    "post_to_report_vs_engine": (POSTED, ENGINE),
    "product_vs_script": (PRODUCT, SCRIPT),
    "vs_ray_data": (PRODUCT, RAY),
    "small_jobs_vs_one": (SMALL, ONE),
}
MOST_SMALL_JOBS = 1000
# The network that the ratios without a name speak of.
HEADLINE = "densenet-121"


@dataclass
class Measured:
    """One network on one coding: frames per second of each way in each round, and what else was seen."""

    model: str
    coding: str
    rates: dict[str, list[float]] = field(default_factory=dict)
    checks: list[Reading] = field(default_factory=list)
    serving: dict[str, Any] = field(default_factory=dict)
    stages: Stages | None = None
    second_core: float = 0.0

    def rate(self, way: str) -> float | None:
        """The median of a way's rounds."""
        return median(self.rates[way]) if self.rates.get(way) else None

    def ratios(self) -> dict[str, float]:
        """What can be told of this network and coding."""
        found = {}
        for name, (over, under) in RATIOS.items():
            if (upper := self.rate(over)) and (lower := self.rate(under)):
                found[name] = round(upper / lower, 3)
        if self.stages and (rate := self.rate(PRODUCT)):
            found["product_vs_limit"] = round(rate / self.stages.limit(os.cpu_count() or 1), 3)
        if self.second_core:
            found["two_cores_vs_one_decoding"] = round(self.second_core, 3)
        return found


def main() -> None:
    """Measure and print; with all networks, write bench/results/inference.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--instances", type=int, help="instances of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", default=",".join(MODELS), help="some of them, with commas between")
    parser.add_argument("--codings", default=",".join(CODINGS), help="some of them, of the largest network")
    chosen = parser.parse_args()
    names = ["mission-cnn"] if chosen.quick else chosen.networks.split(",")
    count = chosen.instances or (400 if chosen.quick else 2000)
    images = make_images()
    found: list[Measured] = []
    with scratch_folder() as folder:
        for name in names:
            headline = name == HEADLINE and not chosen.quick
            work = Work(count, chosen.rounds, chosen.codings.split(",") if headline else [UNCOMPRESSED])
            found += measure(folder / name, name, images, work, whole=not chosen.quick)
    ratios = {}
    for one in found:
        suffix = "" if (one.model, one.coding) == (HEADLINE, UNCOMPRESSED) else f"_{one.model}_{one.coding}"
        ratios |= {f"{name}{suffix}".replace(" ", "_"): value for name, value in one.ratios().items()}
    columns = ("what", *(f"{one.model}, {one.coding}" for one in found))
    # What is published is whole: a part of it is only printed.
    keep = not chosen.quick and (names, chosen.codings) == (list(MODELS), ",".join(CODINGS))
    report("inference", columns, _rows(found), ratios, keep=keep, instances=count, rounds=chosen.rounds)


@dataclass(frozen=True)
class Work:
    """How many instances a round has, how many rounds there are, and of which codings."""

    count: int
    rounds: int
    codings: Sequence[str]


def measure(folder: Path, name: str, images: Images, work: Work, *, whole: bool) -> list[Measured]:
    """A network on files of these codings."""
    folder.mkdir()
    model = make_model(name, folder / "model", images)
    with Product(model) as product:
        yardsticks = Yardsticks(model, product.serving, folder / "cache")
        found = []
        for coding in work.codings:
            one = Measured(name, coding, serving=product.serving)
            for number in range(work.rounds):
                cohort = Cohort(folder / "cohort", images, work.count, f"{coding}-{number}", coding=coding)
                _round(one, cohort, model, product, yardsticks, folder)
                cohort.remove()
            if whole and coding == UNCOMPRESSED:
                _whole_way(one, images, folder, product, work.count)
            found.append(one)
    return found


def _round(one: Measured, cohort: Cohort, model: Model, product: Product, yardsticks: Yardsticks, folder: Path) -> None:
    """Each way once."""
    count = len(cohort.paths)
    frames = yardsticks.ready(cohort)
    ways: dict[str, Callable[[], float]] = {
        LOOP: lambda: yardsticks.openvino_loop(frames),
        ENGINE: lambda: yardsticks.engine(frames),
        SCRIPT: lambda: yardsticks.script(cohort),
    }
    if RayData.is_installed():
        ways[RAY] = lambda: RayData(model, product.serving, str(folder / "cache")).run(cohort)
    for way, run in ways.items():
        one.rates.setdefault(way, []).append(count / run())
    ran = product.run(cohort)
    one.rates.setdefault(PRODUCT, []).append(count / ran.seconds)
    one.checks.append(product.compare(cohort, yardsticks.answers))
    engine_s = (os.cpu_count() or 1) / (one.rate(ENGINE) or 1.0)
    verify_s, decode_s, preprocess_s = decode_and_preprocess(cohort, model.contract)
    one.stages = Stages(verify_s, decode_s, preprocess_s, engine_s, ran.rows_cpu_s / count - verify_s)
    one.second_core = second_core(cohort, model.contract, folder / "data")


def _whole_way(one: Measured, images: Images, folder: Path, product: Product, count: int) -> None:
    """From the upload on, and many small jobs against one of the same instances."""
    small = min(count, MOST_SMALL_JOBS)
    for number in range(len(one.rates[PRODUCT])):
        cohort = Cohort(folder / "cohort", images, count, f"posted-{number}")
        one.rates.setdefault(POSTED, []).append(count / product.post_to_report(cohort))
        cohort.remove()
        for way in (ONE, SMALL):
            cohort = Cohort(folder / "cohort", images, small, f"{len(way)}-{number}", per_patient=1)
            one.rates.setdefault(way, []).append(small / product.queued(cohort, one_job=way is ONE))
            cohort.remove()


def _rows(found: Sequence[Measured]) -> list[tuple[str, ...]]:
    def row(what: str, tell: Callable[[Measured], str]) -> tuple[str, ...]:
        return (what, *(tell(one) for one in found))

    rows = []
    for way in (LOOP, ENGINE, SCRIPT, RAY, PRODUCT, POSTED, ONE, SMALL):
        rows.append(row(f"{way}, frames/s", lambda one, way=way: _shown(one.rate(way), ".1f")))  # type: ignore[misc]
    for name in Stages.__dataclass_fields__:
        rows.append(row(f"{name}, core-ms a frame", lambda one, name=name: _ms(one.stages, name)))  # type: ignore[misc]
    rows.append(row("limit, frames/s", lambda one: _limit(one.stages)))
    for name in (*RATIOS, "product_vs_limit", "two_cores_vs_one_decoding"):
        rows.append(row(name, lambda one, name=name: _shown(one.ratios().get(name), ".2f")))  # type: ignore[misc]
    rows.append(row("serves", lambda one: "{engine} in {precision}".format(**one.serving)))
    rows.append(row("frames repeated by the reference", lambda one: f"{max(c.repeated for c in one.checks):.2%}"))
    rows.append(row("largest difference of a probability", lambda one: f"{max(c.distance for c in one.checks):.1e}"))
    rows.append(row("decisions that differ", lambda one: str(sum(c.differ for c in one.checks))))
    return rows


def _shown(value: float | None, how: str) -> str:
    return "not run" if value is None else format(value, how)


def _ms(stages: Stages | None, name: str) -> str:
    return _shown(None if stages is None else 1000 * getattr(stages, name), ".2f")


def _limit(stages: Stages | None) -> str:
    return _shown(None if stages is None else stages.limit(os.cpu_count() or 1), ".1f")


if __name__ == "__main__":
    main()
