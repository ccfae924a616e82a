"""Which slices a package predicts on: its rule, applied to the places of each stack. Pure."""

from collections.abc import Iterator, Sequence

from shared.dicom.planes import Planes
from shared.model_contract import AllSlices, EveryNth, SliceRule
from shared.slices import Slice, SliceOrder, Stack, frame_stacks, stacks_of

# An instance that claims more frames is taken whole: what is wrong with it, its decoder says.
MAX_FRAMES = 100_000


def selected_places(rule: SliceRule, num_places: int) -> range:
    """The places of a stack that are predicted on, counted from 0: at least one, where there is one."""
    if isinstance(rule, AllSlices):
        return range(num_places)
    if isinstance(rule, EveryNth):
        return range(0, num_places, rule.n)
    wanted = min(num_places, max(1, int(rule.share * num_places + 0.5)))
    first = (num_places - wanted) // 2
    return range(first, first + wanted)


def selected_frames(rule: SliceRule, number_of_frames: int, planes: Planes) -> tuple[int, ...] | None:
    """The numbers of the frames, from 1, that are predicted on, in order; None: all of them."""
    if isinstance(rule, AllSlices) or not 1 < number_of_frames <= MAX_FRAMES:
        return None
    if not planes:
        return tuple(at + 1 for at in selected_places(rule, number_of_frames))
    stacks = frame_stacks(number_of_frames, planes)
    return tuple(sorted(index + 1 for stack in stacks for index in _selected(rule, stack)))


def left_out(rule: SliceRule, slices: Sequence[Slice]) -> dict[int, str]:
    """Of a series' instances of one frame, the indices of those that are not predicted on, and in words why."""
    return dict(_left_out(rule, stacks_of(slices)))


def rule_in_words(rule: SliceRule) -> str:
    """What the rule selects: `every 3rd slice`."""
    if isinstance(rule, AllSlices):
        return "all slices"
    if isinstance(rule, EveryNth):
        return f"the first of every {rule.n} slices"
    return f"the central {100 * rule.share:g} % of slices"


def _selected(rule: SliceRule, stack: Stack) -> Iterator[int]:
    """All slices at the selected places: which of several at one place is the right one, nobody knows."""
    for at in selected_places(rule, len(stack.places)):
        yield from stack.places[at]


def _left_out(rule: SliceRule, stacks: Sequence[Stack]) -> Iterator[tuple[int, str]]:
    for stack in stacks:
        selected = selected_places(rule, len(stack.places))
        by = "position" if stack.order is SliceOrder.POSITION else "Instance Number"
        for at, place in enumerate(stack.places):
            if at not in selected:
                text = f"Slice {at + 1} of {len(stack.places)} by {by}; the model takes {rule_in_words(rule)}."
                yield from ((index, text) for index in place)
