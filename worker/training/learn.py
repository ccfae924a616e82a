"""One process's part of a training run: from its order to the package, saying how it goes."""

import errno
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shared.datasets.document import read
from shared.errors import PermanentError
from shared.model_contract import ModelContract
from shared.model_package import load_contract
from shared.states import Split
from worker.engines.keras import import_keras, load_network
from worker.training.data import Examples
from worker.training.loop import Moment, Training
from worker.training.order import CHECKPOINT, CHECKPOINT_FILE, DONE, EPOCH, FULL, REFUSED, STEP, TrainingOrder
from worker.training.package import write_package
from worker.training.peers import Peers
from worker.training.samples import LEARNT_FROM, Sample, labelled
from worker.training.scratch import new_network, with_new_weights

SAY_EVERY_S = 0.5
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
LOOK_S = 0.1
# What Keras calls the variable of a layer that draws: a seed, and a counter.
SEED_STATE = "seed_generator_state"

Event = dict[str, Any]


def told(events: Iterator[Event]) -> Iterator[Event]:
    """The same, and in the end why it cannot go on: what it was given is at fault, or the disk is full."""
    try:
        yield from events
    except PermanentError as error:
        yield {"event": REFUSED, "reason": error.recorded_reason, "message": error.message}
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        yield {"event": FULL}


def learn(order: TrainingOrder, peers: Peers) -> Iterator[Event]:
    """Learn, and say how it goes: the epochs, and the steps now and then.

    The first of the processes leaves checkpoints in `order.out`, and in the end the package; the others say the same,
    and write nothing.
    """
    contract, options = load_contract(order.contract), order.options
    samples, examples = _read(order, contract)
    import_keras().utils.set_random_seed(options.seed)
    contract, network = _network(order, contract)
    training = Training(network, contract, examples[Split.TRAIN], examples[Split.VAL], options, peers)
    if order.checkpoint is not None:
        with np.load(order.checkpoint) as state:
            training.restore(state)
    set_apart(training.learner, peers.share.rank)
    is_first = peers.share.rank == 0
    said_at = saved_at = time.monotonic()
    _wait(order.pause)
    for moment in training.moments():
        now = time.monotonic()
        if moment.ended or now - said_at >= SAY_EVERY_S:
            said_at = now
            yield _told(moment, options.epochs)
        # After what it has was told: what goes on from it does not tell that again.
        if is_first and now - saved_at >= order.checkpoint_every_s:
            saved_at = now
            _save(training, order.out)
            yield {"event": CHECKPOINT, "step": moment.step}
        _wait(order.pause)
    training.finish()
    if is_first:
        write_package(network, contract, samples, order.out / "package", data_digest=order.dataset_sha256)
    place = training.place
    yield {"event": DONE, "step": place.step, "epoch": place.epoch, "best_epoch": place.best_epoch}


def _network(order: TrainingOrder, contract: ModelContract) -> tuple[ModelContract, Any]:
    """The network that learns, and the contract of what it gives: the package's, or one of ours, which gives logits."""
    options = order.options
    network = load_network(contract, order.weights, batch_size=options.batch_size)
    if options.network != "package":
        fields = contract.model_dump(mode="json") | {"output": "logits"}
        num_outputs = int(network.outputs[0].shape[-1])
        network = new_network(options.network, contract, num_outputs, options.seed, batch_size=options.batch_size)
        return load_contract(json.dumps(fields)), network
    if options.start == "scratch":
        network = with_new_weights(network, options.seed)
    return contract, network


def set_apart(network: Any, rank: int) -> None:
    """Have this process draw, as for a Dropout, other numbers than the first one, whose state is kept."""
    for variable in network.variables:
        if variable.name == SEED_STATE:
            variable.assign(variable + np.array([rank, 0], variable.dtype))


def _wait(pause: Path) -> None:
    """One process that waits holds all up: none can end a step alone."""
    while pause.exists():
        time.sleep(LOOK_S)


def _read(order: TrainingOrder, contract: ModelContract) -> tuple[list[Sample], dict[Split, Examples]]:
    """The samples of train and val, and every frame of theirs as an example; the frames stay on the disk.

    Of the holdout this process has no frames.
    """
    _, listed = read(order.dataset)
    shape = (sum(order.frame_counts), contract.input.rows, contract.input.columns, contract.input.channels)
    frames = np.memmap(order.frames, np.float32, "r", shape=shape)
    samples, places, classes = [], defaultdict[Split, list[int]](list), defaultdict[Split, list[int]](list)
    start = 0
    for one, count in zip(listed, order.frame_counts, strict=True):
        if one.split not in LEARNT_FROM:
            continue
        samples.append(Sample(**vars(labelled(one)), frames=frames[start : start + count]))
        places[one.split] += range(start, start + count)
        classes[one.split] += [one.label] * count
        start += count
    examples = {
        split: Examples(frames, np.array(places[split], np.int64), np.array(classes[split], np.int64))
        for split in LEARNT_FROM
    }
    return samples, examples


def _told(moment: Moment, epochs: int) -> Event:
    place = {"epoch": moment.epoch, "epochs": epochs, "step": moment.step, "steps": moment.steps}
    said = {"loss": moment.loss, "waited_s": moment.waited_s, "metrics": moment.ended}
    return {"event": EPOCH if moment.ended else STEP, **place, **said}


def _save(training: Training, out: Path) -> None:
    """Written whole before it has its name."""
    unfinished = out / f"{CHECKPOINT_FILE}.new"
    with unfinished.open("wb") as file:
        arrays: dict[str, Any] = training.state()
        np.savez(file, **arrays)
    unfinished.replace(out / CHECKPOINT_FILE)
