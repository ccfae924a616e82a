"""Labels become truth of instances, patients become splits, and the list has one form whatever came first."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.datasets.document import Head, Sample, read, to_bytes
from shared.datasets.split import Subject, splits_of
from shared.datasets.truth import SEVERAL, UNKNOWN, Place, Target, class_of, truths_of
from shared.model_package import ModelContract, load_contract
from shared.states import Split, TargetLevel
from tests.model_samples import contract_fields

INSTANCE, STUDY, PATIENT = TargetLevel.INSTANCE, TargetLevel.STUDY, TargetLevel.PATIENT
# Two studies of one patient: two instances in the first, one in the second.
PLACES = [Place(1, 10, 100), Place(2, 10, 100), Place(3, 11, 100)]


def contract(**changes: Any) -> ModelContract:
    return load_contract(json.dumps(contract_fields(**changes)))


def lesions(said: dict[Target, bool], drove: frozenset[int] = frozenset(), **changes: Any) -> list[bool | None]:
    """What is true of each instance of PLACES."""
    words = {target: {"lesion": value} for target, value in said.items()}
    truths = truths_of(PLACES, words, contract(**changes), {"lesion": drove})
    return [truths[place.instance][0] for place in PLACES]


def test_negative_patient_makes_every_instance_negative() -> None:
    assert lesions({(PATIENT, 100): False}) == [False, False, False]


def test_positive_study_speaks_of_what_drove_it_and_of_an_only_instance() -> None:
    said = {(STUDY, 10): True, (STUDY, 11): True}

    assert lesions(said) == [None, None, True]
    assert lesions(said, frozenset({2})) == [None, True, True]
    assert lesions(said, learning={"positives": "all"}) == [True, True, True]


def test_positive_patient_who_judges_is_positive_in_every_image_whatever_a_model_held_to_be() -> None:
    words = {(PATIENT, 100): {"lesion": True}}

    learns = truths_of(PLACES, words, contract(), {"lesion": frozenset({2})})
    judges = truths_of(PLACES, words, contract(), {"lesion": frozenset({2})}, {100})

    assert [learns[place.instance][0] for place in PLACES] == [None, True, None]
    assert [judges[place.instance][0] for place in PLACES] == [True, True, True]


def test_most_specific_word_counts() -> None:
    said = {(PATIENT, 100): False, (STUDY, 10): True, (INSTANCE, 1): False}

    assert lesions(said, frozenset({1, 2})) == [False, True, False]


@pytest.mark.parametrize(
    ("truth", "found"),
    [
        ((False, True, False), (1, "")),
        ((None, True, None), (1, "")),
        ((None, False, False), (0, "")),  # the background class, where all others are known to be absent
        ((True, None, None), (0, "")),
        ((None, False, None), (None, UNKNOWN)),
        ((False, False, False), (None, UNKNOWN)),
        ((False, True, True), (None, SEVERAL)),
    ],
)
def test_class_of_several(truth: tuple[bool | None, ...], found: tuple[int | None, str]) -> None:
    assert class_of(contract(task="multiclass"), truth) == found


def test_class_of_two() -> None:
    assert [class_of(contract(), (value,))[0] for value in (None, False, True)] == [None, 0, 1]


def subject(key: str, settled: Split | None = None, label: int = 0, *pixels: str) -> Subject:
    return Subject(key, settled, frozenset({label}), frozenset(pixels or {key}))


subjects = st.lists(
    st.builds(
        subject,
        st.text("abcdef", min_size=1, max_size=4),
        st.sampled_from([None, *Split]),
        st.integers(0, 2),
        st.sampled_from("pqrstuvw"),
    ),
    max_size=30,
    unique_by=lambda one: one.key,
)


@given(subjects, st.integers(0, 100), st.randoms())
def test_splits_keep_the_holdout_and_never_part_equal_pixels(
    given_subjects: list[Subject], seed: int, random: Any
) -> None:
    splits = splits_of(given_subjects, seed=seed, val_share=0.3)

    shuffled = list(given_subjects)
    random.shuffle(shuffled)
    assert splits_of(shuffled, seed=seed, val_share=0.3) == splits
    for one in given_subjects:
        assert (splits[one.key] is Split.HOLDOUT) == (one.settled is Split.HOLDOUT)
        for other in given_subjects:
            if one.pixels & other.pixels and None not in (splits[one.key], splits[other.key]):
                assert splits[one.key] == splits[other.key]


def test_patients_who_share_pixels_through_others_are_one() -> None:
    chain = [subject("a", None, 0, "p", "q"), subject("b", None, 0, "q", "r"), subject("c", Split.VAL, 1, "r", "s")]

    assert splits_of([*chain, subject("d")], seed=0, val_share=0.01) == {
        "a": Split.VAL,
        "b": Split.VAL,
        "c": Split.VAL,
        "d": Split.TRAIN,
    }


def test_who_shares_pixels_with_the_holdout_is_left_out() -> None:
    found = splits_of([subject("a", Split.HOLDOUT, 1, "p"), subject("b", Split.TRAIN, 1, "p")], seed=0, val_share=0.5)

    assert found == {"a": Split.HOLDOUT, "b": None}


def test_val_has_its_share_of_each_class_and_hangs_on_the_seed() -> None:
    many = [subject(f"{at:03}", None, int(at % 10 == 0)) for at in range(200)]

    first, second = (splits_of(many, seed=seed, val_share=0.2) for seed in (1, 2))

    for split in (first, second):
        chosen = [one for one in many if split[one.key] is Split.VAL]
        assert [sum(label in one.classes for one in chosen) for label in (0, 1)] == [36, 4]
    assert first != second


def test_document_is_the_same_whatever_came_first(tmp_path: Path) -> None:
    head = Head(model="m", classes=("negative", "lesion"), seed=1, val_share=0.2)
    samples = [
        Sample(
            sha256=digest * 64,
            patient="p",
            study="1.2",
            series="1.3",
            study_date="2026-01-01",
            site="Köln",
            scanner="",
            split=Split.TRAIN,
            label=1,
            frames=None,
            pixels="0",
        )
        for digest in "ab"
    ]

    data = to_bytes(head, samples)

    assert data == to_bytes(head, samples[::-1])
    (tmp_path / "dataset").write_bytes(data)
    assert read(tmp_path / "dataset") == (head, samples)
