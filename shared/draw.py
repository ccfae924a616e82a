"""Chance that falls the same way on every host and at every time: a hash in place of a draw."""

import hashlib


def drawn_share(*words: str) -> float:
    """A number from 0 up to 1, evenly spread over different words, always the same for the same ones."""
    return int.from_bytes(hashlib.sha256("\0".join(words).encode()).digest()[:8]) / 2**64
