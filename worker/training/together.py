"""A training run in several processes, which Ray starts here or on the hosts of a cluster (`RAY_ADDRESS`)."""

import os
import secrets
from collections.abc import Iterator
from typing import Any

from shared.errors import NotTrainableError
from worker.engines.backends import this_backend
from worker.training.learn import Event, learn, told
from worker.training.order import REFUSED, TrainingOrder
from worker.training.ring import Address, Ring

KEY_BYTES = 32
# Where there are fewer, that many processes can still be had, to try what several compute.
LEAST_CPUS = 4
# Frames do not go through Ray's memory, only what processes say: the least that it takes.
OBJECT_STORE_BYTES = 80 * 1024 * 1024
# Ray's processes, and with them the run, end so long after its head is gone; by themselves they wait for a minute.
HEADLESS_S = 10


def learn_together(order: TrainingOrder) -> Iterator[Event]:
    """As `learn`, in as many processes as the options say; what they say, the first of them says.

    Raises NotTrainableError without Ray, or where the cluster is too small. An error of Ray's, where a process died,
    ends the run: whoever watches this process goes on from the last checkpoint.
    """
    count, key = order.options.workers, secrets.token_bytes(KEY_BYTES)
    ray = _connect(order)
    resources = ray.cluster_resources()
    cpus, gpus = (int(resources.get(kind, 0)) for kind in ("CPU", "GPU"))
    if cpus < count:
        raise NotTrainableError(f"{count} workers are asked for, and there are CPUs for {cpus}; ask for fewer workers")
    threads = cpus // count
    actor = ray.remote(num_cpus=threads, num_gpus=gpus // count, max_restarts=0, scheduling_strategy="SPREAD")(_Learner)
    learners = [actor.remote(threads) for _ in range(count)]
    addresses = ray.get([learner.address.remote() for learner in learners])
    ray.get([learner.join.remote(rank, addresses, key) for rank, learner in enumerate(learners)])
    others = [learner.follow.remote(order) for learner in learners[1:]]
    try:
        for event in learners[0].lead.options(num_returns="streaming").remote(order):
            yield ray.get(event)
    except ray.exceptions.RayError:
        # One that could not go on has left the ring, and says why.
        refused = [said for said in ray.get(others) if said["event"] == REFUSED]
        if not refused:
            raise
        yield refused[0]


class _Learner:
    """A process of Ray's, of which the first leads; each has as many threads as are its share of the CPUs."""

    def __init__(self, threads: int) -> None:
        this_backend()  # it imports TensorFlow in its quick way
        import ray
        import tensorflow as tf

        self._ring = Ring(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)

    def address(self) -> Address:
        return self._ring.address()

    def join(self, rank: int, addresses: list[Address], key: bytes) -> None:
        self._ring.join(rank, addresses, key)

    def lead(self, order: TrainingOrder) -> Iterator[Event]:
        yield from told(learn(order, self._ring))

    def follow(self, order: TrainingOrder) -> Event:
        """Every process comes to the same end, which the first one says; here the last word counts."""
        try:
            *_, last = self.lead(order)
        finally:
            self._ring.leave()
        return last


def _connect(order: TrainingOrder) -> Any:
    """Ray, connected with the cluster, or begun here for this run alone and on the loopback interface alone."""
    is_local = not os.environ.get("RAY_ADDRESS")
    if is_local:
        # What Ray reads when it is imported; the first is its switch for "no cluster: listen on loopback only".
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(KEY_BYTES)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError as error:
        raise NotTrainableError(
            "training in several workers needs Ray; install 'overread[worker]' anew, or ask for one worker"
        ) from error
    if is_local:
        ray.init(
            num_cpus=max(os.cpu_count() or 1, LEAST_CPUS),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            _temp_dir=str(order.ray_folder),
            _system_config={"gcs_rpc_server_reconnect_timeout_s": HEADLESS_S},
        )
    else:
        ray.init(log_to_driver=False)
    return ray
