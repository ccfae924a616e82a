"""Stacks of slices: order along the normal, spacing, gaps, duplicates; and which of them a package selects."""

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.dicom.planes import Plane
from shared.model_contract import AllSlices, CentralShare, EveryNth, SliceRule
from shared.slice_selection import MAX_FRAMES, left_out, selected_frames, selected_places
from shared.slices import MAX_ORIENTATIONS, Gap, Slice, SliceOrder, Stack, stacks_of
from tests.slice_samples import AXIAL, SAGITTAL

EVERY_THIRD = EveryNth(kind="every_nth", n=3)
HALF = CentralShare(kind="central_share", share=0.5)


def axial(at_mm: float, number: int = 0, name: str = "") -> Slice:
    return Slice(Plane(AXIAL, (10.0, -20.0, at_mm)), number, name or str(at_mm))


def names(slices: Sequence[Slice], stack: Stack) -> list[set[str]]:
    return [{slices[index].name for index in place} for place in stack.places]


def only(slices: Sequence[Slice]) -> Stack:
    (stack,) = stacks_of(slices)
    return stack


def rotation(angles: Sequence[float]) -> NDArray[np.float64]:
    """A rotation of space: about x, y, then z; (3, 3)."""
    turned = np.eye(3)
    for axis, angle in enumerate(angles):
        one, other = [at for at in range(3) if at != axis]
        turn = np.eye(3)
        turn[one, one] = turn[other, other] = math.cos(angle)
        turn[one, other], turn[other, one] = -math.sin(angle), math.sin(angle)
        turned = turn @ turned
    return turned


def moved(one: Slice, turn: NDArray[np.float64], shift: Sequence[float]) -> Slice:
    assert one.plane is not None
    row, column = turn @ one.plane.orientation[:3], turn @ one.plane.orientation[3:]
    position = turn @ one.plane.position + np.asarray(shift)
    return Slice(Plane((*row.tolist(), *column.tolist()), tuple(position.tolist())), one.number, one.name)


# Tenths of a millimetre, so that no two places are nearer than what counts as one.
positions = st.lists(st.integers(-5000, 5000), min_size=1, max_size=30)
anything = st.lists(
    st.tuples(st.sampled_from([AXIAL, SAGITTAL, None]), st.integers(-40, 40), st.integers(0, 3)), max_size=25
)
angles = st.tuples(*[st.floats(-math.pi, math.pi)] * 3)
shifts = st.tuples(*[st.floats(-300, 300)] * 3)
rules = st.sampled_from([AllSlices(), EVERY_THIRD, HALF, CentralShare(kind="central_share", share=0.01)])


def made(drawn: Sequence[tuple[tuple[float, ...] | None, int, int]]) -> list[Slice]:
    return [
        Slice(Plane(orientation, (float(at), 0.0, float(at))) if orientation else None, number, str(index))
        for index, (orientation, at, number) in enumerate(drawn)
    ]


@given(anything, st.randoms(), rules)
def test_stacks_and_selection_do_not_depend_on_the_order_of_arrival(
    drawn: list[tuple[tuple[float, ...] | None, int, int]], shuffler: random.Random, rule: SliceRule
) -> None:
    slices = made(drawn)
    shuffled = list(slices)
    shuffler.shuffle(shuffled)

    one, other = stacks_of(slices), stacks_of(shuffled)

    assert [names(slices, stack) for stack in one] == [names(shuffled, stack) for stack in other]
    assert [stack.positions_mm for stack in one] == [stack.positions_mm for stack in other]
    assert {slices[at].name: why for at, why in left_out(rule, slices).items()} == {
        shuffled[at].name: why for at, why in left_out(rule, shuffled).items()
    }
    assert sorted(index for stack in one for place in stack.places for index in place) == list(range(len(slices)))


@given(positions)
def test_order_is_turned_round_when_the_normal_is(tenths: list[int]) -> None:
    slices = [axial(tenth / 10, name=str(index)) for index, tenth in enumerate(tenths)]
    row, column = AXIAL[:3], AXIAL[3:]
    turned = [Slice(Plane((*column, *row), one.plane.position), 0, one.name) for one in slices if one.plane]

    there, back = only(slices), only(turned)

    assert names(slices, there) == names(turned, back)[::-1]
    assert there.positions_mm == pytest.approx([-at for at in back.positions_mm[::-1]])
    assert there.spacing_mm == pytest.approx(back.spacing_mm)
    places = len(there.places)
    assert [places - gap.after for gap in there.gaps] == [gap.after for gap in back.gaps][::-1]
    assert [places + 1 - number for number in there.duplicates] == back.duplicates[::-1]


@given(positions, angles, shifts)
def test_stack_is_the_same_however_the_patient_lay(
    tenths: list[int], turns: tuple[float, ...], shift: tuple[float, ...]
) -> None:
    slices = [axial(tenth / 10, name=str(index)) for index, tenth in enumerate(tenths)]
    turned = [moved(one, rotation(turns), shift) for one in slices]

    here, there = only(slices), only(turned)

    assert names(slices, here) == names(turned, there)
    assert here.spacing_mm == pytest.approx(there.spacing_mm, abs=1e-6)
    assert [gap.after for gap in here.gaps] == [gap.after for gap in there.gaps] or _is_on_the_edge(here)


def _is_on_the_edge(stack: Stack) -> bool:
    """A distance of exactly one and a half usual ones: rounding decides."""
    distances, usual = np.diff(stack.positions_mm), stack.spacing_mm or 0.0
    return bool(np.isclose(distances, 1.5 * usual, atol=1e-6).any())


def test_gap_is_named_by_place_and_distances() -> None:
    stack = only([axial(at) for at in (0.0, 3.0, 6.0, 15.0, 18.0)])

    assert stack.spacing_mm == 3.0
    assert stack.gaps == [Gap(after=3, expected_mm=3.0, found_mm=9.0)]
    assert stack.duplicates == []


def test_slices_a_hair_apart_are_at_one_place() -> None:
    stack = only([axial(0.0), axial(1.0, name="one"), axial(1.0000004, name="other"), axial(2.0)])

    assert [len(place) for place in stack.places] == [1, 2, 1]
    assert stack.duplicates == [2]
    assert stack.gaps == []


def test_orientation_that_was_rounded_is_no_other_one() -> None:
    tilted = [(1.0, 0.0, 0.0, 0.0, cosine, -math.sqrt(1 - cosine**2)) for cosine in (0.9, 0.9000001)]

    stacks = stacks_of([Slice(Plane(tilted[at % 2], (0.0, 0.0, float(at))), at) for at in range(6)])

    assert [len(stack.places) for stack in stacks] == [6]


def test_single_slice_has_no_spacing() -> None:
    stack = only([axial(1.0)])

    assert (stack.spacing_mm, stack.gaps, stack.order) == (None, [], SliceOrder.POSITION)


def test_slices_without_plane_stand_in_the_order_of_their_numbers() -> None:
    slices = [Slice(None, number, name) for number, name in ((2, "b"), (1, "c"), (2, "a"))]

    stack = only(slices)

    assert names(slices, stack) == [{"c"}, {"a"}, {"b"}]
    assert (stack.order, stack.spacing_mm, stack.gaps, stack.duplicates) == (SliceOrder.NUMBER, None, [], [])


def test_orientations_beyond_the_most_are_ordered_by_number() -> None:
    angles = np.linspace(0, math.pi, 3 * MAX_ORIENTATIONS, endpoint=False)
    planes = [Plane((math.cos(a), math.sin(a), 0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0)) for a in angles]

    stacks = stacks_of([Slice(plane, number) for number, plane in enumerate(planes)])

    assert len(stacks) == MAX_ORIENTATIONS + 1
    assert stacks[-1].order is SliceOrder.NUMBER
    assert sum(len(stack.places) for stack in stacks) == len(planes)


@pytest.mark.parametrize(
    ("rule", "num_places", "expected"),
    [
        (AllSlices(), 4, [0, 1, 2, 3]),
        (EVERY_THIRD, 7, [0, 3, 6]),
        (EVERY_THIRD, 2, [0]),
        (HALF, 8, [2, 3, 4, 5]),
        (HALF, 1, [0]),
        (CentralShare(kind="central_share", share=0.01), 9, [4]),
        (CentralShare(kind="central_share", share=1.0), 3, [0, 1, 2]),
        (HALF, 0, []),
    ],
)
def test_rule_selects_these_places(rule: SliceRule, num_places: int, expected: list[int]) -> None:
    assert list(selected_places(rule, num_places)) == expected


@given(st.floats(0.001, 1.0), st.integers(1, 500))
def test_central_share_is_central_and_of_the_right_size(share: float, num_places: int) -> None:
    places = selected_places(CentralShare(kind="central_share", share=share), num_places)

    assert 1 <= len(places) <= num_places
    assert abs(len(places) - share * num_places) <= max(0.5, 1 - share * num_places) + 1e-9
    assert 0 <= (num_places - 1 - places[-1]) - places[0] <= 1


def test_all_slices_at_a_selected_place_are_taken() -> None:
    slices = [axial(float(at), name=f"{at} {phase}") for at in range(4) for phase in range(3)]

    gone = {slices[at].name for at in left_out(EVERY_THIRD, slices)}

    assert gone == {f"{at} {phase}" for at in (1, 2) for phase in range(3)}


def test_frames_are_selected_in_each_orientation() -> None:
    places = [(AXIAL, 2.0), (SAGITTAL, 5.0), (AXIAL, 0.0), (AXIAL, 1.0), (SAGITTAL, 4.0), (AXIAL, 3.0)]
    planes = tuple(Plane(orientation, (at, 0.0, at)) for orientation, at in places)

    # Axial from 0 to 3: frames 3, 4, 1, 6. Sagittal, whose normal points to the right: frames 2, 5.
    assert selected_frames(EVERY_THIRD, 6, planes) == (2, 3, 6)


def test_all_frames_at_a_selected_place_are_taken() -> None:
    planes = tuple(Plane(AXIAL, (0.0, 0.0, at)) for at in (3.0, 0.0, 1.0, 0.0, 3.0, 2.0))

    assert selected_frames(EVERY_THIRD, 6, planes) == (1, 2, 4, 5)


@pytest.mark.parametrize(
    ("rule", "number_of_frames", "expected"),
    [
        (EVERY_THIRD, 7, (1, 4, 7)),
        (EVERY_THIRD, 1, None),
        (AllSlices(), 7, None),
        (EVERY_THIRD, MAX_FRAMES + 1, None),
        (EVERY_THIRD, 2**31 - 1, None),
    ],
)
def test_frames_without_planes_are_selected_by_number(
    rule: SliceRule, number_of_frames: int, expected: tuple[int, ...] | None
) -> None:
    assert selected_frames(rule, number_of_frames, ()) == expected
