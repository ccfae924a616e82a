"""Limited child processes: hostile bytes are parsed and decoded there, never in a service's own process.

A child is a fresh interpreter (never a fork: the parent may hold TensorFlow and threads) that runs one named
function. Parent and child speak over two pipes and hand arrays over in shared memory; what a child says is bounded
and checked, because a process that reads hostile bytes is not trusted.
"""

from shared.sandbox.pool import LimitedPool
from shared.sandbox.wire import DECODE_REASONS, ChildLimits, ChildReasons, Reply

__all__ = ["DECODE_REASONS", "ChildLimits", "ChildReasons", "LimitedPool", "Reply"]
