"""How long to wait before the next try."""

import random


def backoff_s(first_s: float, tries: int, most_s: float) -> float:
    """Doubles with each try (1, 2, ...) up to `most_s`; a random part is taken off, so that not all come at once."""
    whole_s: float = min(first_s * 2 ** min(tries - 1, 30), most_s)
    return whole_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
