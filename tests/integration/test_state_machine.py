"""No illegal move, no write by one who lost its shard, every job ended once: whatever happens in whatever order.

OVERREAD_STATE_MACHINE=large: many more and longer stories, new ones each time.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import event

from tests.conftest import Prepared
from tests.stories import Story

# What the stories together must have come through, or they show little.
WHAT_HAPPENS = {
    "claimed",
    "finished",
    "fenced out",
    "lease ran out",
    "worker is stopping",
    "storage is away",
    "cancelled by request",
    "shard quarantined",
    "item quarantined",
    "tries taken back: release",
    "tries taken back: lose",
}
USUAL = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck), "print_blob": True}


def _profiles() -> Iterator[tuple[int | None, hypothesis_settings]]:
    """Seeds and settings: the same stories each time, or many new ones.

    From one seed hypothesis makes stories that are much alike; so few are more varied from several seeds.
    """
    if os.environ.get("OVERREAD_STATE_MACHINE") == "large":
        yield None, hypothesis_settings(max_examples=2000, stateful_step_count=100, **USUAL)  # type: ignore[arg-type]
        return
    for seed_number in range(8):
        # Shrinking takes minutes: only where somebody waits for the shortest story.
        few = {"max_examples": 4, "stateful_step_count": 40, "phases": [Phase.generate]}
        yield seed_number, hypothesis_settings(**few, **USUAL)  # type: ignore[arg-type]


def test_no_story_has_an_illegal_move_or_an_outcome_lost(prepared: Prepared, sqlite_template: tuple[Path, str]) -> None:
    seen: Counter[str] = Counter()
    # The stories need no power cut: without waiting for the disk they are told faster.
    event.listen(prepared.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))

    def tell() -> Story:
        return Story(prepared, sqlite_template[0], seen)

    for seed_number, profile in _profiles():
        run_state_machine_as_test(tell if seed_number is None else seed(seed_number)(tell), settings=profile)

    assert {what for what, times in seen.items() if times} >= WHAT_HAPPENS
