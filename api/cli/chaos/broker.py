"""Messages as nobody should send them: doubled, stale, junk, or taken away."""

from collections.abc import Callable
from typing import Any

from shared.config import Settings
from shared.states import Lane

COPIES = 5
# pickle's opcodes for os.getcwd(): harmless, but code that a message would have run.
PICKLE = b"cos\ngetcwd\n(tR."
LONG = "x" * 100_000
# Not even what a message is wrapped in.
NO_MESSAGES = (b"junk", b"\xff\x80", b"null", b"{}", b'{"properties": {}}', PICKLE)


class Broker:
    """The system's own broker, spoken to directly; where it is away, nothing is done and False says so."""

    def __init__(self, settings: Settings) -> None:
        # Here, so that the rest of the command line starts without Celery.
        from kombu.exceptions import OperationalError
        from redis.exceptions import RedisError

        from shared.queue import TaskName, make_celery

        self._app = make_celery(settings)
        self._hint = TaskName.INFER_NEXT.value
        self._errors = (OperationalError, RedisError, OSError)

    def double_hints(self) -> bool:
        """Many hints more than there is work."""
        return self._send([(self._hint, {"lane": lane.value}, lane.value) for lane in Lane] * COPIES)

    def send_stale_hints(self) -> bool:
        """Hints that name what is not there, or that an older version might have sent."""
        wrong: list[dict[str, str]] = [{"lane": "no-such-lane"}, {"shard": "7"}, {"lane": LONG}, {}]
        hints = [(self._hint, given, Lane.ROUTINE.value) for given in wrong]
        return self._send([*hints, ("overread.no_such_task", {}, Lane.ROUTINE.value)])

    def send_junk(self) -> bool:
        """What is no message, no JSON, no task, or wants to be unpickled."""

        def send(connection: Any) -> None:
            for lane in Lane:
                _junk(connection.Producer(), lane.value)
                connection.default_channel.client.lpush(lane.value, *NO_MESSAGES)

        return self._speak(send)

    def lose_hints(self) -> bool:
        """Take every waiting message away."""
        return self._speak(lambda connection: connection.default_channel.client.delete(*(lane.value for lane in Lane)))

    def _send(self, hints: list[tuple[str, dict[str, str], str]]) -> bool:
        def send(_connection: Any) -> None:
            for task, given, lane in hints:
                self._app.send_task(task, kwargs=given, queue=lane)

        return self._speak(send)

    def _speak(self, say: Callable[[Any], object]) -> bool:
        try:
            with self._app.connection_for_write() as connection:
                say(connection)
        except self._errors:
            return False
        return True


def _junk(producer: Any, lane: str) -> None:
    to = {"routing_key": lane, "exchange": lane}
    producer.publish("{no JSON", **to, content_type="application/json", content_encoding="utf-8")
    producer.publish("", **to, content_type="text/plain", content_encoding="utf-8")
    producer.publish(PICKLE, **to, content_type="application/x-python-serialize", content_encoding="binary")
