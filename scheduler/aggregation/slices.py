"""Evidence -> the slices of each series: how many, how many selected, how far apart, which lack or are double. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from scheduler.aggregation.evidence import InstanceEvidence, StudyFacts
from shared.model_contract import SliceRule
from shared.reasons import Reason
from shared.repositories.retries import POINTLESS
from shared.slice_selection import selected_frames
from shared.slices import Slice, SliceOrder, Stack, frame_stacks, stacks_of

# Of more gaps or duplicates of a stack, and of more stacks of a series, so many are named; all are counted.
MAX_NAMED, MAX_STACKS = 20, 100


class _Image(NamedTuple):
    """A frame of an instance: what a slice is."""

    instance: InstanceEvidence
    frame: int
    is_selected: bool


@dataclass
class SliceFacts:
    """What the report says of the series, and of each frame (blob, number), where in its stack it lies."""

    series: list[dict[str, Any]] = field(default_factory=list)
    place_of: dict[tuple[str, int], dict[str, int]] = field(default_factory=dict)


def slice_facts(rule: SliceRule, studies: Sequence[StudyFacts], instances: Sequence[InstanceEvidence]) -> SliceFacts:
    """The stacks of each series of these instances, as they were when the package's rule was applied."""
    facts = SliceFacts()
    uids = {study.row: study.study_instance_uid for study in studies}
    series: defaultdict[tuple[str, str], list[InstanceEvidence]] = defaultdict(list)
    for instance in instances:
        if instance.reason not in POINTLESS:  # no stack was made of these when the job was accepted
            series[uids[instance.study_row], instance.series_instance_uid].append(instance)
    for (study_uid, series_uid), members in sorted(series.items()):
        told: dict[str, Any] = {"study_instance_uid": study_uid, "series_instance_uid": series_uid}
        stacks = list(_stacks_told(facts, rule, sorted(members, key=lambda one: one.blob_sha256)))
        told |= {"select": rule.document, "num_stacks": len(stacks), "stacks": stacks[:MAX_STACKS]}
        facts.series.append(told)
    return facts


def _stacks_told(facts: SliceFacts, rule: SliceRule, members: Sequence[InstanceEvidence]) -> Iterator[dict[str, Any]]:
    """Stacks of instances, then of the frames of each multi-frame instance, with that one's UID."""
    single = [_Image(one, 1, one.reason is not Reason.NOT_SELECTED) for one in members if one.number_of_frames == 1]
    for stack in stacks_of([_slice_of(image.instance) for image in single]):
        yield {"sop_instance_uid": None} | _stack_told(facts, stack, single)
    for one in (one for one in members if one.number_of_frames > 1):
        frames = selected_frames(rule, one.number_of_frames, one.planes)
        if not one.planes:
            # By its claims alone: they can be absurd.
            num_selected = one.number_of_frames if frames is None else len(frames)
            told = _told(SliceOrder.NUMBER, one.number_of_frames, num_selected)
            yield {"sop_instance_uid": one.sop_instance_uid} | told
            continue
        numbers = range(1, one.number_of_frames + 1)
        selected = frozenset(numbers if frames is None else frames)
        images = [_Image(one, number, number in selected) for number in numbers]
        for stack in frame_stacks(one.number_of_frames, one.planes):
            yield {"sop_instance_uid": one.sop_instance_uid} | _stack_told(facts, stack, images)


def _slice_of(one: InstanceEvidence) -> Slice:
    name = f"{one.sop_instance_uid} {one.blob_sha256}"
    return Slice(one.planes[0] if one.planes else None, one.instance_number, name)


def _stack_told(facts: SliceFacts, stack: Stack, images: Sequence[_Image]) -> dict[str, Any]:
    """The stack in the report; notes where its images lie."""
    places = [[images[index] for index in place] for place in stack.places]
    if stack.order is SliceOrder.POSITION:
        for number, place in enumerate(places, start=1):
            for image in place:
                facts.place_of[image.instance.blob_sha256, image.frame] = {"number": number, "of": len(places)}
    told = _told(stack.order, len(places), sum(any(image.is_selected for image in place) for place in places))
    if stack.order is SliceOrder.NUMBER:
        return told
    gaps, duplicates = stack.gaps, stack.duplicates
    return told | {
        "spacing_mm": stack.spacing_mm,
        "num_gaps": len(gaps),
        "gaps": [vars(gap) | {"after": _named(gap.after, places[gap.after - 1])} for gap in gaps[:MAX_NAMED]],
        "num_duplicates": len(duplicates),
        "duplicates": [_named(number, places[number - 1]) for number in duplicates[:MAX_NAMED]],
    }


def _told(order: SliceOrder, num_slices: int, num_selected: int) -> dict[str, Any]:
    """A stack of which no plane is known, and so nothing of gaps and duplicates."""
    unknown: dict[str, Any] = {"spacing_mm": None, "num_gaps": None, "gaps": [], "num_duplicates": None}
    known = {"ordered_by": order.value, "slices": num_slices, "selected": num_selected}
    return known | unknown | {"duplicates": []}


def _named(number: int, place: Sequence[_Image]) -> dict[str, Any]:
    """A slice of a stack: its number, and its images, as many as are named."""
    images = [{"sop_instance_uid": one.instance.sop_instance_uid, "frame": one.frame} for one in place[:MAX_NAMED]]
    return {"number": number, "images": images}
