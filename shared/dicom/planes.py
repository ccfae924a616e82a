"""(1) Where an instance's frames lie in the patient, as far as its file says so; hostile values are no plane."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pydicom.dataset import Dataset

from shared.dicom.values import decimals, sequence_items

# What a reply of the header's reader and a row of the index hold without growing large; an enhanced cine has hundreds.
MAX_PLANES = 4096
_NUM_COSINES, _NUM_COORDINATES = 6, 3
_ORIENTATION = ("PlaneOrientationSequence", "ImageOrientationPatient")
_POSITION = ("PlanePositionSequence", "ImagePositionPatient")
_MAX_COORDINATE_MM = 100_000.0
# How far the direction cosines may be from unit length and from a right angle: files round them, some to two digits.
_COSINES_TOLERANCE = 0.01


class Plane(NamedTuple):
    """Where one frame lies (PS3.3 C.7.6.2.1.1), in the patient's coordinates: to the left, to the back, to the head.

    `orientation`: the direction cosines of the rows, then of the columns (ImageOrientationPatient). `position`: of the
    centre of the first voxel, mm (ImagePositionPatient).
    """

    orientation: tuple[float, ...]
    position: tuple[float, ...]


Planes = tuple[Plane | None, ...]


def planes_of_dataset(dataset: Dataset, number_of_frames: int) -> Planes:
    """The plane of each frame, None where the file gives none; empty when it gives none at all, or for too many.

    A multi-frame instance has them in functional groups (PS3.3 C.7.6.16.2.3 and C.7.6.16.2.4); the attributes of the
    Image Plane module itself speak of one frame only.
    """
    number_of_frames = max(1, number_of_frames)
    if number_of_frames > MAX_PLANES:
        return ()
    shared = sequence_items(dataset, "SharedFunctionalGroupsSequence")[:1]
    per_frame = sequence_items(dataset, "PerFrameFunctionalGroupsSequence")
    itself = [dataset] if number_of_frames == 1 else []
    groups = ([*per_frame[index : index + 1], *shared] for index in range(number_of_frames))
    return _if_any(
        _plane(
            _numbers(of_frame, itself, _ORIENTATION, _NUM_COSINES),
            _numbers(of_frame, itself, _POSITION, _NUM_COORDINATES),
        )
        for of_frame in groups
    )


def planes_of_document(found: Any) -> Planes:
    """Planes as JSON keeps them, from the index or from a child that is not trusted."""
    if not isinstance(found, list) or len(found) > MAX_PLANES:
        return ()
    return _if_any(_plane(*map(_as_numbers, one)) if _is_pair(one) else None for one in found)


def _numbers(
    groups: Sequence[Dataset], itself: Sequence[Dataset], names: tuple[str, str], count: int
) -> tuple[float, ...] | None:
    """Of the first functional group that has the macro, else of the data set itself."""
    macro, keyword = names
    holders = (item for group in groups for item in sequence_items(group, macro)[:1])
    return next((decimals(holder, keyword, count) for holder in (*holders, *itself)), None)


def _is_pair(found: Any) -> bool:
    return isinstance(found, list) and len(found) == len(Plane._fields)


def _as_numbers(found: Any) -> tuple[float, ...] | None:
    if isinstance(found, list) and all(type(one) is float and math.isfinite(one) for one in found):
        return tuple(found)
    return None


def _plane(orientation: tuple[float, ...] | None, position: tuple[float, ...] | None) -> Plane | None:
    """The plane, when these are what the standard says: two unit vectors at a right angle, and a place near Earth."""
    if orientation is None or position is None:
        return None
    if len(orientation) != _NUM_COSINES or len(position) != _NUM_COORDINATES:
        return None
    row, column = orientation[:3], orientation[3:]
    errors = (math.hypot(*row) - 1.0, math.hypot(*column) - 1.0, sum(a * b for a, b in zip(row, column, strict=True)))
    if max(map(abs, errors)) > _COSINES_TOLERANCE or max(map(abs, position)) > _MAX_COORDINATE_MM:
        return None
    return Plane(orientation, position)


def _if_any(planes: Iterable[Plane | None]) -> Planes:
    found = tuple(planes)
    return found if any(found) else ()
