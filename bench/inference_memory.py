"""Whether memory grows with a job: the worker's and its children's, over one job of many instances.

`python -m bench.inference_memory` takes a quarter of an hour and 25 GB of disk; `--instances` makes it shorter.
"""

import argparse

import numpy as np

from bench.harness import report
from bench.inference_models import make_model
from bench.inference_product import Product
from bench.inference_work import Cohort, make_images
from bench.servers import scratch_folder
from shared.config import MIB

NETWORK = "mission-cnn"
UPLOAD_SIZE = 2000


def main() -> None:
    """Measure, print, write bench/results/inference_memory.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=50_000)
    count = parser.parse_args().instances
    images = make_images()
    with scratch_folder() as folder:
        model = make_model(NETWORK, folder / "model", images)
        with Product(model) as product:
            uploads = []
            for start in range(0, count, UPLOAD_SIZE):
                cohort = Cohort(folder / "cohort", images, min(UPLOAD_SIZE, count - start), start)
                uploads.append(product.upload(cohort))
                cohort.remove()
            resident = np.asarray(product.run_watched(uploads)) / MIB
    last = resident[len(resident) // 2 :]
    slope = float(np.polyfit(np.linspace(0.0, 1.0, len(last)), last, 1)[0] / last.mean())
    rows = [
        ("seconds", str(len(resident))),
        ("resident, first half, MiB", f"{resident[: len(resident) // 2].max():.0f} at most"),
        ("resident, second half, MiB", f"{last.max():.0f} at most, {last.mean():.0f} on average"),
        ("growth over the second half", f"{slope:+.2%}"),
    ]
    report("inference_memory", ("what", "how much"), rows, {"growth_over_last_half": round(slope, 4)}, instances=count)


if __name__ == "__main__":
    main()
