"""A ring of processes that add up arrays: each sends to the next one and hears from the one before."""

import os
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, answer_challenge, deliver_challenge
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.training.data import Share

Address = tuple[str, int]


class Ring:
    """One process of the ring; see `worker.training.peers.Peers`.

    Of n processes each sends 2 (n - 1) / n of an array, however many they are (Patarasuk and Yuan 2009,
    doi:10.1016/j.jpdc.2008.09.002). A part's sum is computed once, in the order of the ring, and then handed on: all
    processes have the same bits, and have them again when the same is added up again.
    """

    def __init__(self, host: str) -> None:
        """Listen on an address of this machine; who has not the key that `join` is given is sent away."""
        self.share = Share()
        self._listener = socket.create_server((host, 0))
        self._to_send: queue.SimpleQueue[tuple[NDArray[Any], Future[None]]] = queue.SimpleQueue()

    def address(self) -> Address:
        """Where the process before is to connect to."""
        host, port = self._listener.getsockname()
        return str(host), int(port)

    def join(self, rank: int, addresses: Sequence[Address], key: bytes) -> None:
        """Connect with the process after and the process before, once all listen."""
        self.share = Share(rank, len(addresses))
        with self._listener:
            before: Future[Connection] = Future()
            _in_thread(_accept, self._listener, key, before)
            self._next = Client(addresses[(rank + 1) % len(addresses)], authkey=key)
            self._before = before.result()
            # Closed alone it would take one more: whoever waits for a connection keeps it.
            self._listener.shutdown(socket.SHUT_RDWR)
        _send_at_once(self._next)
        _in_thread(self._send)

    def leave(self) -> None:
        """Have the others notice that this process adds up nothing more."""
        self._next.close()
        self._before.close()

    def total(self, values: Sequence[Any]) -> list[Any]:
        """The sums over all processes of tensors, packed into one array of the first one's numbers."""
        import tensorflow as tf

        tensors = [tf.convert_to_tensor(one) for one in values]
        packed = tf.concat([tf.reshape(tf.cast(one, tensors[0].dtype), [-1]) for one in tensors], 0)
        whole = tf.ensure_shape(tf.numpy_function(self.total_of, [packed], packed.dtype), packed.shape)
        parts = tf.split(whole, [one.shape.num_elements() for one in tensors])
        return [tf.cast(tf.reshape(part, one.shape), one.dtype) for part, one in zip(parts, tensors, strict=True)]

    def total_of(self, mine: NDArray[Any]) -> NDArray[Any]:
        """The sum of what every process has in this place; raises OSError or EOFError where one is gone."""
        whole = np.array(mine)
        rank, count = self.share.rank, self.share.count
        parts = np.array_split(whole, count)
        heard = np.empty_like(parts[0])
        for step in range(count - 1):
            part = parts[(rank - step - 1) % count]
            self._exchange(parts[(rank - step) % count], heard[: len(part)])
            part += heard[: len(part)]
        for step in range(count - 1):
            self._exchange(parts[(rank - step + 1) % count], parts[(rank - step) % count])
        return whole

    def _exchange(self, sent: NDArray[Any], heard: NDArray[Any]) -> None:
        """Both at once: were all to send first, nobody would take what fills the way."""
        done: Future[None] = Future()
        self._to_send.put((sent, done))
        size = self._before.recv_bytes_into(heard.view(np.uint8).data) if len(heard) else len(self._before.recv_bytes())
        done.result()
        if size != heard.nbytes:
            raise EOFError(f"{size} bytes came from the process before; expected {heard.nbytes}")

    def _send(self) -> None:
        while True:
            part, done = self._to_send.get()
            try:
                self._next.send_bytes(part.view(np.uint8).data if len(part) else b"")
                done.set_result(None)
            except OSError as error:
                done.set_exception(error)


def _send_at_once(connection: Connection) -> None:
    """What is small does not wait for more to go with it."""
    with socket.socket(fileno=os.dup(connection.fileno())) as way:
        way.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _in_thread(act: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=act, args=arguments, daemon=True).start()


def _accept(listener: socket.socket, key: bytes, found: "Future[Connection]") -> None:
    """Let each who comes prove himself beside the others: who says nothing holds nobody up."""
    with suppress(OSError):  # closed: found, or the process after could not be reached
        while not found.done():
            way, _ = listener.accept()
            _in_thread(_prove, Connection(way.detach()), key, found)


def _prove(connection: Connection, key: bytes, found: "Future[Connection]") -> None:
    try:
        deliver_challenge(connection, key)
        answer_challenge(connection, key)
        found.set_result(connection)
    except (AuthenticationError, EOFError, OSError, InvalidStateError):
        connection.close()
