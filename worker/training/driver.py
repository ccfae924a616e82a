"""The process of one training run: `python -m worker.training.driver ORDER`, started and watched by a worker.

It says how it goes in JSON lines on its standard output, and ends when its standard input does.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from worker.training.events import say
from worker.training.learn import learn, told
from worker.training.order import TrainingOrder
from worker.training.peers import Alone
from worker.training.together import learn_together


def train(order: TrainingOrder) -> None:
    """Learn in this process, or in as many as the options say."""
    for event in told(learn(order, Alone()) if order.options.workers == 1 else learn_together(order)):
        say(**event)


def _end_with_worker() -> None:
    """End, with all that it started, when whoever started this is dead: nobody would take what it makes."""
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


def main(arguments: Sequence[str]) -> int:
    """The command; 0 also where what it was given is at fault, which it says."""
    (path,) = arguments
    order = TrainingOrder.model_validate_json(Path(path).read_bytes())
    threading.Thread(target=_end_with_worker, name="end-with-worker", daemon=True).start()
    order.out.mkdir(parents=True, exist_ok=True)
    train(order)
    return 0


if __name__ == "__main__":
    # The same order gives the same weights; here, because it holds for the whole process.
    os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")
    sys.exit(main(sys.argv[1:]))
