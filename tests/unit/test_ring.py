"""Processes in a ring have the same sums, let nobody else in, and notice that one is gone."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client

import numpy as np
import pytest

from worker.training.ring import Ring

HOST, KEY = "127.0.0.1", b"a key of the test"
WAIT_S = 20.0


@contextmanager
def rings(count: int) -> Iterator[tuple[list[Ring], ThreadPoolExecutor]]:
    found = [Ring(HOST) for _ in range(count)]
    addresses = [ring.address() for ring in found]
    with ThreadPoolExecutor(count) as pool:
        joined = [pool.submit(ring.join, rank, addresses, KEY) for rank, ring in enumerate(found)]
        for one in joined:
            one.result(WAIT_S)
        yield found, pool


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_all_have_the_same_sums_whatever_the_size(count: int) -> None:
    with rings(count) as (found, pool):
        assert [ring.share.rank for ring in found] == list(range(count))
        for size in (1, 2, 7, 100_000):
            given = [np.random.default_rng(rank).random(size) for rank in range(count)]
            before = [one.copy() for one in given]

            sums = list(pool.map(lambda ring, mine: ring.total_of(mine), found, given, timeout=WAIT_S))

            assert np.allclose(sums[0], sum(given), rtol=1e-15)
            assert all(np.array_equal(one, sums[0]) for one in sums)
            assert all(np.array_equal(one, two) for one, two in zip(given, before, strict=True))


def test_who_has_not_the_key_is_sent_away_and_holds_nobody_up() -> None:
    found = [Ring(HOST) for _ in range(2)]
    addresses = [ring.address() for ring in found]
    with ThreadPoolExecutor(3) as pool:
        silent = socket.create_connection(addresses[0], timeout=WAIT_S)
        stranger = pool.submit(Client, addresses[0], authkey=b"another key")
        joined = [pool.submit(ring.join, rank, addresses, KEY) for rank, ring in enumerate(found)]
        for one in joined:
            one.result(WAIT_S)
        with pytest.raises((AuthenticationError, OSError, EOFError)):
            stranger.result(WAIT_S)
        sums = list(pool.map(lambda ring: ring.total_of(np.ones(3)), found, timeout=WAIT_S))
    silent.close()
    assert [one.tolist() for one in sums] == [[2, 2, 2], [2, 2, 2]]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(addresses[0], timeout=WAIT_S)


def test_one_that_is_gone_is_noticed() -> None:
    with rings(3) as (found, pool):
        found[1].leave()
        waiting = [pool.submit(found[rank].total_of, np.ones(30)) for rank in (0, 2)]

        assert isinstance(waiting[1].exception(WAIT_S), EOFError | OSError)
        found[2].leave()
        assert isinstance(waiting[0].exception(WAIT_S), EOFError | OSError)
