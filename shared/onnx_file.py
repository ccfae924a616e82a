"""What can be said of a `.onnx` file without running anything of it; a worker looks inside before it loads it."""

from pathlib import Path

from shared.errors import InvalidModelPackageError

# A protobuf message has to be smaller than this.
MAX_BYTES = 2 * 1024 * 1024 * 1024
# ModelProto begins with ir_version, its first field, a number (onnx.proto).
FIRST_BYTE = b"\x08"


def check_onnx_file(path: Path) -> None:
    """Raise InvalidModelPackageError for what is plainly something else."""
    size_bytes = path.stat().st_size
    with path.open("rb") as handle:
        begins = handle.read(1)
    if begins != FIRST_BYTE or size_bytes >= MAX_BYTES:
        raise InvalidModelPackageError(
            f"weights.onnx ({size_bytes} bytes) is no ONNX model of less than 2 GiB; export it as one file, with the "
            "weights inside"
        )
