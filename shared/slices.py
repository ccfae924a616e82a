"""Slices of a series in the order in which they lie in the patient: stacks, spacing, gaps, duplicates. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice, pairwise
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.dicom.planes import Plane, Planes

# Two slices nearer than this lie at the same place: a thousandth of what CT resolves, and more than rounding makes.
SAME_PLACE_MM = 0.001
# A distance of so many usual ones is a gap: where one slice lacks it is two.
GAP_FACTOR = 1.5
# Orientations whose direction cosines differ by less are one (half a degree): scanners and anonymisers round them.
SAME_ORIENTATION = 0.01
# What more orientations have is ordered by number: a file each of a hostile series would take quadratic time.
MAX_ORIENTATIONS = 64


class SliceOrder(StrEnum):
    """What the slices of a stack are sorted by."""

    POSITION = "position"
    NUMBER = "number"  # InstanceNumber, or the frame's number: no plane is known


class Slice(NamedTuple):
    """An instance of one frame, or a frame: its plane, its number in its series or instance, and what else names it."""

    plane: Plane | None
    number: int
    name: str = ""


@dataclass(frozen=True)
class Gap:
    """A distance larger than usual: after the place of this number, from 1."""

    after: int
    expected_mm: float
    found_mm: float


class Stack(NamedTuple):
    """Slices of one orientation: `places` in order, each with the indices of the slices that lie there.

    `positions_mm` are those of the places along the normal; empty where no plane is known. A place with several
    slices is a duplicate; without planes each slice has a place of its own.
    """

    places: tuple[tuple[int, ...], ...]
    positions_mm: tuple[float, ...] = ()

    @property
    def order(self) -> SliceOrder:
        """What the places are sorted by."""
        return SliceOrder.POSITION if self.positions_mm else SliceOrder.NUMBER

    @property
    def spacing_mm(self) -> float | None:
        """The median distance of neighbours; None where there are none, or no plane is known."""
        distances = self._distances_mm()
        return median(distances) if distances else None

    @property
    def gaps(self) -> list[Gap]:
        """Where the next place is much farther than usual."""
        distances, usual = self._distances_mm(), self.spacing_mm or math.inf
        return [Gap(at, usual, found) for at, found in enumerate(distances, start=1) if found > GAP_FACTOR * usual]

    @property
    def duplicates(self) -> list[int]:
        """The places, counted from 1, that hold several slices."""
        return [number for number, place in enumerate(self.places, start=1) if len(place) > 1]

    def _distances_mm(self) -> list[float]:
        return [after - before for before, after in pairwise(self.positions_mm)]


def stacks_of(slices: Sequence[Slice]) -> list[Stack]:
    """One stack for each orientation, that with the most places first, then one of the slices without a plane.

    The same stacks come of the same slices in any order, but for equal slices without a plane.
    """
    planes = {index: one.plane for index, one in enumerate(slices) if one.plane is not None}
    # By what the slices are, not by where they stand in the list: the first of each orientation leads its stack.
    known = sorted(planes, key=lambda index: (planes[index], slices[index].number, slices[index].name))
    groups = list(islice(_by_orientation(known, planes), MAX_ORIENTATIONS)) if planes else []
    stacks = sorted((_along_the_normal(group, planes) for group in groups), key=lambda stack: -len(stack.places))
    placed = {index for group in groups for index in group}
    rest = [index for index in range(len(slices)) if index not in placed]
    rest.sort(key=lambda index: (slices[index].number, slices[index].name))
    return [*stacks, Stack(tuple((index,) for index in rest))] if rest else stacks


def frame_stacks(number_of_frames: int, planes: Planes) -> list[Stack]:
    """The stacks of a multi-frame instance; a frame's index is its number less 1."""
    found = [*planes[:number_of_frames], *(None for _ in range(number_of_frames - len(planes)))]
    return stacks_of([Slice(plane, number) for number, plane in enumerate(found, start=1)])


def _by_orientation(indices: Sequence[int], planes: dict[int, Plane]) -> Iterable[list[int]]:
    """Groups of one orientation; in each, the indices keep their order."""
    rest = np.array(indices, np.intp)
    cosines = np.array([planes[index].orientation for index in indices], np.float64).reshape(-1, 6)
    while len(rest):
        alike = np.linalg.norm(cosines - cosines[0], axis=1) < SAME_ORIENTATION
        yield rest[alike].tolist()
        rest, cosines = rest[~alike], cosines[~alike]


def normal_of(orientation: Sequence[float]) -> NDArray[np.float64]:
    """The unit normal of a plane: the rows' direction cosines x the columns' (PS3.3 C.7.6.2.1.1); (3,) float64."""
    normal = np.cross(orientation[:3], orientation[3:])
    unit: NDArray[np.float64] = normal / np.linalg.norm(normal)
    return unit


def _along_the_normal(group: Sequence[int], planes: dict[int, Plane]) -> Stack:
    """The slices of one orientation by their distance from the origin along the normal of the first."""
    normal = normal_of(planes[group[0]].orientation)
    distances_mm = np.array([planes[index].position for index in group], np.float64) @ normal
    places: list[list[int]] = []
    positions_mm: list[float] = []
    for at in np.argsort(distances_mm, kind="stable").tolist():
        if not places or distances_mm[at] - positions_mm[-1] > SAME_PLACE_MM:
            places.append([])
            positions_mm.append(float(distances_mm[at]))
        places[-1].append(group[at])
    return Stack(tuple(map(tuple, places)), tuple(positions_mm))
