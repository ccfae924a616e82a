"""Training: our loop in one process and in two that Ray starts, against Keras' own `fit` with all cores.

`python -m bench.training` takes about a quarter of an hour on two cores; `--quick` two minutes, with the small network
only and nothing written. All learn the same made images in batches of the same size, take turns, and medians count.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.harness import report
from bench.servers import scratch_folder
from shared.datasets.document import Head, Sample, to_bytes
from shared.model_package import load_contract
from shared.states import Split
from shared.training_options import Augment, TrainingOptions
from tests.model_samples import contract_fields, write_contract
from worker.training.order import DONE, EPOCH, TrainingOrder
from worker.training.process import TrainingProcess

CLASSES = 10
VAL_SHARE = 0.1
LEARNING_RATE = 1e-3
LOOK_S = 1.0
FIT, ONE, TWO = "keras.fit, all cores", "one process", "two Ray workers, a thread each"
RATIOS = {"two_workers_vs_fit": (TWO, FIT), "one_process_vs_fit": (ONE, FIT)}

PICTURE = Path("docs/training-loss.svg")
COLOURS = {FIT: "#888888", ONE: "#1f6feb", TWO: "#d1242f"}


@dataclass(frozen=True)
class Network:
    """Side and channels of the input, frames in a step, and images to learn from."""

    side: int
    channels: int
    batch_size: int
    count: int


NETWORKS = {"mission_cnn": Network(32, 3, 128, 12_800), "resnet18": Network(28, 1, 64, 2_048)}


@dataclass
class Measured:
    """One network: images per second and loss of each epoch, of each way in each round."""

    rates: dict[str, list[float]] = field(default_factory=dict)
    losses: dict[str, list[float]] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)

    def rate(self, way: str) -> float:
        """The median of a way's rounds."""
        return median(self.rates[way])


def main() -> None:
    """Measure and print; with all networks, write bench/results/training.json and the picture of the losses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    chosen = parser.parse_args()
    names = ["mission_cnn"] if chosen.quick else list(NETWORKS)
    found = {}
    for name in names:
        with scratch_folder() as folder:
            found[name] = measure(folder, name, 1 if chosen.quick else chosen.rounds, chosen.epochs)
    ratios = {
        f"{ratio}_{name}": round(one.rate(over) / one.rate(under), 3)
        for name, one in found.items()
        for ratio, (over, under) in RATIOS.items()
    }
    ratios |= {f"waiting_for_data_{name}": round(median(one.waits), 4) for name, one in found.items()}
    rows = [(f"{way}, images/s", *(f"{one.rate(way):,.0f}" for one in found.values())) for way in (FIT, ONE, TWO)]
    rows += [
        (ratio, *(f"{ratios[f'{ratio}_{name}']:.2f}" for name in found)) for ratio in (*RATIOS, "waiting_for_data")
    ]
    report("training", ("what", *found), rows, ratios, keep=not chosen.quick, epochs=chosen.epochs)
    if not chosen.quick:
        PICTURE.write_text(drawn({name: one.losses for name, one in found.items()}))


def measure(folder: Path, name: str, rounds: int, epochs: int) -> Measured:
    """A network learns the same images in each way."""
    order = make_order(folder, name, epochs)
    one = Measured()
    ways: dict[str, Callable[[], list[dict[str, Any]]]] = {
        FIT: lambda: fit(order, name),
        ONE: lambda: run(order, folder, workers=1),
        TWO: lambda: run(order, folder, workers=2),
    }
    for _ in range(rounds):
        for way, learn in ways.items():
            ended = learn()
            seconds = ended[-1]["at"] - ended[0]["at"]  # the first epoch has the compilation in it
            one.rates.setdefault(way, []).append(NETWORKS[name].count * (len(ended) - 1) / seconds)
            one.losses[way] = [each.get("metrics", each)["loss"] for each in ended]
            if way is TWO:
                one.waits.append((ended[-1]["waited_s"] - ended[0]["waited_s"]) / seconds)
    return one


def make_order(folder: Path, name: str, epochs: int) -> TrainingOrder:
    """Images, labels, network and options, as a worker leaves them for a training process."""
    network = NETWORKS[name]
    fields = contract_fields(task="multiclass", side=network.side, channels=network.channels)
    fields["findings"] = [
        {"code": f"class-{at}", "display": f"Class {at}", "threshold": 0.5, "background": False}
        for at in range(CLASSES)
    ]
    subprocess.run(
        [sys.executable, "-m", "bench.training_fit", "build", name, str(folder / "weights.keras")], check=True
    )
    write_contract(folder, fields)
    splits = [Split.TRAIN] * network.count + [Split.VAL] * round(network.count * VAL_SHARE)
    samples = [
        Sample(
            sha256=f"{at:064x}", patient=f"{at}", study=f"{at}", series=f"{at}", study_date="", site="", scanner="",
            split=split, label=at % CLASSES, frames=None, pixels="",
        )
        for at, split in enumerate(splits)
    ]  # fmt: skip
    classes = tuple(finding["code"] for finding in fields["findings"])
    head = Head(model="bench", classes=classes, seed=0, val_share=VAL_SHARE)
    (folder / "dataset").write_bytes(to_bytes(head, samples))
    make_images(len(splits), network.side, network.channels).tofile(folder / "frames")
    return TrainingOrder(
        contract=load_contract((folder / "model.json").read_text()).text,
        weights=folder / "weights.keras",
        dataset=folder / "dataset",
        dataset_sha256="0" * 64,
        frames=folder / "frames",
        frame_counts=(1,) * len(splits),
        options=TrainingOptions(
            epochs=epochs,
            batch_size=network.batch_size,
            learning_rate=LEARNING_RATE,
            decay="constant",
            patience_epochs=0,
            class_weights=False,
            augment=Augment(shift=0.0),
        ),
        checkpoint=None,
        checkpoint_every_s=30.0,
        out=folder / "out",
        ray_folder=folder,
        pause=folder / "pause",
    )


def make_images(count: int, side: int, channels: int) -> NDArray[np.float32]:
    """Of each class its own pattern, in much noise."""
    rng = np.random.default_rng(0)
    # So much that it takes epochs to see through, on more channels more.
    scale = 2.0 * np.sqrt(channels)
    patterns = rng.normal(size=(CLASSES, side, side, channels)).astype(np.float32)
    noise = rng.normal(scale=scale, size=(count, side, side, channels)).astype(np.float32)
    return patterns[np.arange(count) % CLASSES] + noise


def run(order: TrainingOrder, folder: Path, *, workers: int) -> list[dict[str, Any]]:
    """The training process as a worker starts it: what it said of its epochs, and when."""
    options = order.options.model_copy(update={"workers": workers})
    ended: list[dict[str, Any]] = []
    with TrainingProcess(order.model_copy(update={"options": options}), folder) as process:
        while True:
            for said in process.hear(LOOK_S):
                if said["event"] == EPOCH:
                    ended.append(said | {"at": time.monotonic()})
                elif said["event"] == DONE:
                    return ended


def fit(order: TrainingOrder, name: str) -> list[dict[str, Any]]:
    """Keras' own loop in a process of its own."""
    command = [sys.executable, "-m", "bench.training_fit", "fit", name]
    command += map(str, (order.weights, order.frames, order.options.epochs))
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    ended: list[dict[str, Any]] = json.loads(said.stdout.splitlines()[-1])
    return ended


def drawn(losses: dict[str, dict[str, list[float]]]) -> str:
    """A picture, SVG: for each network the loss by epoch of each way, one over the other."""
    width, height, margin = 360, 240, 40
    parts = []
    for at, (name, ways) in enumerate(losses.items()):
        top = max(value for curve in ways.values() for value in curve)
        left = at * (width + margin) + margin
        parts.append(f'<text x="{left}" y="20">{name}: loss by epoch, 0 to {top:.2f}</text>')
        parts.append(f'<path d="M{left} 30V{30 + height}H{left + width}" stroke="#888" fill="none"/>')
        for number, (way, curve) in enumerate(ways.items()):
            points = " ".join(
                f"{left + width * step / max(1, len(curve) - 1):.1f},{30 + height * (1 - value / top):.1f}"
                for step, value in enumerate(curve)
            )
            dashes = f' stroke-dasharray="{6 - 2 * number} {2 * number}"' if number else ""
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{COLOURS[way]}" stroke-width="{5 - 2 * number}"'
                f"{dashes}/>"
            )
            parts.append(f'<text x="{left + 150}" y="{60 + 18 * number}" fill="{COLOURS[way]}">{way}</text>')
    size = f'width="{len(losses) * (width + margin) + margin}" height="{height + 50}"'
    style = 'font-family="sans-serif" font-size="13"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>' + "".join(parts) + "</svg>\n"


if __name__ == "__main__":
    main()
