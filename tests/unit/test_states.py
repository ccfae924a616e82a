"""The tables of legal moves: closed, final where they must be, and told in words."""

from enum import StrEnum

import pytest

from shared import states
from shared.errors import IllegalTransitionError, OverreadError, PermanentError
from shared.reasons import REASON_TEXTS, Reason
from shared.repositories.history import check_job_move, check_shard_move
from shared.states import (
    ERASE_MOVES,
    FINAL_ITEM_STATES,
    FINAL_JOB_STATES,
    ITEM_MOVES,
    JOB_MOVES,
    MODEL_MOVES,
    RUN_MOVES,
    SHARD_MOVES,
    EraseState,
    ItemState,
    JobState,
    ModelState,
    RunState,
    ShardState,
)

TABLES: dict[type[StrEnum], dict[StrEnum, frozenset[StrEnum]]] = {
    JobState: JOB_MOVES,  # type: ignore[dict-item]
    ShardState: SHARD_MOVES,  # type: ignore[dict-item]
    ItemState: ITEM_MOVES,  # type: ignore[dict-item]
    ModelState: MODEL_MOVES,  # type: ignore[dict-item]
    EraseState: ERASE_MOVES,  # type: ignore[dict-item]
    RunState: RUN_MOVES,  # type: ignore[dict-item]
}
FIRST = {
    JobState.QUEUED,
    ShardState.QUEUED,
    ItemState.PENDING,
    ModelState.CANDIDATE,
    EraseState.PRESENT,
    RunState.WAITING,
    RunState.MISSED,
}
FINAL = {
    JobState: {"done", "partial", "failed", "cancelled"},
    ShardState: {"done", "quarantined", "cancelled"},
    ItemState: {"done", "failed", "skipped", "cancelled"},
    ModelState: {"rejected"},
    EraseState: set(),
    RunState: {"fired", "skipped", "missed", "failed"},
}


@pytest.mark.parametrize("kind", TABLES)
def test_table_names_every_state_and_no_other(kind: type[StrEnum]) -> None:
    table = TABLES[kind]

    assert set(table) == set(kind)
    for before, moves in table.items():
        assert moves <= set(kind)
        assert before not in moves


@pytest.mark.parametrize("kind", TABLES)
def test_only_final_states_have_no_moves(kind: type[StrEnum]) -> None:
    assert {state.value for state, moves in TABLES[kind].items() if not moves} == FINAL[kind]


@pytest.mark.parametrize("kind", TABLES)
def test_every_state_can_be_reached(kind: type[StrEnum]) -> None:
    table = TABLES[kind]
    reached = FIRST & set(kind)
    for _ in kind:
        reached |= {after for before in reached for after in table[before]}

    assert reached == set(kind)


def test_final_states_are_those_of_the_tables() -> None:
    assert {JobState.DONE, JobState.PARTIAL, JobState.FAILED, JobState.CANCELLED} == FINAL_JOB_STATES
    assert {ItemState.DONE, ItemState.FAILED, ItemState.SKIPPED, ItemState.CANCELLED} == FINAL_ITEM_STATES


@pytest.mark.parametrize("before", JobState)
@pytest.mark.parametrize("after", JobState)
def test_job_move_is_refused_when_the_table_does_not_list_it(before: JobState, after: JobState) -> None:
    if after in JOB_MOVES[before]:
        check_job_move(before, after)
    else:
        with pytest.raises(IllegalTransitionError, match=f"from {before} to {after}"):
            check_job_move(before, after)


@pytest.mark.parametrize("before", ShardState)
@pytest.mark.parametrize("after", ShardState)
def test_shard_move_is_refused_when_the_table_does_not_list_it(before: ShardState, after: ShardState) -> None:
    if after in SHARD_MOVES[before]:
        check_shard_move(before, after)
    else:
        with pytest.raises(IllegalTransitionError):
            check_shard_move(before, after)


def test_every_reason_is_told_in_words() -> None:
    assert set(REASON_TEXTS) == set(Reason)
    assert all(text.endswith(".") and len(text) > 15 for text in REASON_TEXTS.values())
    assert len(set(REASON_TEXTS.values())) == len(Reason)


def test_states_fit_their_columns_and_urls() -> None:
    kinds = [kind for kind in vars(states).values() if isinstance(kind, type) and issubclass(kind, StrEnum)]

    for kind in kinds:
        for member in kind:
            assert member.value == member.name.lower()
            assert len(member.value) <= 64 if kind is Reason else len(member.value) <= 32


def _shared_errors() -> set[type[OverreadError]]:
    """Those that cross processes; a program's own errors, imported by other tests, do not."""
    return {kind for kind in _family(OverreadError) if kind.__module__ == OverreadError.__module__}


def _family(kind: type[OverreadError]) -> set[type[OverreadError]]:
    return {kind}.union(*(_family(child) for child in kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(_shared_errors(), key=lambda kind: kind.__name__))
def test_error_survives_pickling(kind: type[OverreadError]) -> None:
    import pickle

    error = pickle.loads(pickle.dumps(kind("what came", reason=Reason.TRUNCATED)))

    assert (type(error), error.message, error.context) == (kind, "what came", {"reason": Reason.TRUNCATED})
    assert str(error) == "what came"


def test_permanent_error_records_the_reason_it_was_given_or_its_classs() -> None:
    assert PermanentError("x").recorded_reason is Reason.INVALID
    assert PermanentError("x", reason="truncated").recorded_reason is Reason.TRUNCATED
