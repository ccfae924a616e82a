"""What a worker and its engine's process say to each other, in the frames of `shared.sandbox.wire`."""

# Ready for requests; one is taken up; it is done; the package is refused; there is no such engine; memory is exhausted;
# it failed.
READY, BEGUN, DONE, REFUSED, MISSING, MEMORY, FAILED = b"+", b"b", b"d", b"e", b"n", b"m", b"x"
MAX_REQUEST_BYTES = 16 * 1024 * 1024
MAX_META_BYTES = 64 * 1024

ENGINES_TARGET = "worker.engines.load:load_engine"
"""What loads engines, as "package.module:function"."""
