"""What workers hear from the broker: what is no message at all is dropped, and the worker lives."""

from queue import Empty
from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis

log = structlog.get_logger()

# What JSON's, base64's and kombu's own reading raise of bytes that nobody should have sent.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


class HintChannel(redis.Channel):
    """Kombu ends the consumer, and Celery with it the worker, over bytes that are not its own envelope."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except UNREADABLE as error:
            # It was taken off its queue. A hint that is lost is sent again.
            log.warning("message_dropped", error=type(error).__name__)
            raise Empty from error


class HintTransport(redis.Transport):
    """Kombu's for Valkey and Redis, with that channel."""

    Channel = HintChannel


def use_hint_transport() -> None:
    """Have Celery read hints so in this process, whatever kind of connection the broker's URL asks for."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{HintTransport.__module__}:{HintTransport.__name__}"
