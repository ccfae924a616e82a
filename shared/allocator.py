"""The C library's allocator, told to keep what it has."""

import ctypes

# malloc.h; the threshold is the largest that glibc takes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MMAP_THRESHOLD_BYTES = 32 * 1024 * 1024
TRIM_THRESHOLD_BYTES = 128 * 1024 * 1024


def keep_memory() -> None:
    """For processes that allocate the same few large blocks again and again: pieces of uploads, arrays of images.

    By default glibc gives each back to the kernel, and getting it anew, page by page, took nearly half of the time of
    an uncompressed image. Other C libraries have no such knob, and go on as they are.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
        library.mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)
