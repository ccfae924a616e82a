"""What a worker and its engine's process say to each other: length-prefixed JSON and raw bytes, never pickle."""

import struct

REQUEST = struct.Struct(">I")  # bytes of JSON
ANSWER = struct.Struct(">cII")  # kind, bytes of JSON, bytes of payload
# Ready for requests; one is taken up; it is done; the package is refused; memory is exhausted; it failed.
READY, BEGUN, DONE, REFUSED, MEMORY, FAILED = b"+", b"b", b"d", b"e", b"m", b"x"
MAX_REQUEST_BYTES = 16 * 1024 * 1024
MAX_META_BYTES = 64 * 1024

KERAS_TARGET = "worker.engines.keras:load_keras_engine"
"""What loads engines, as "package.module:function"."""
