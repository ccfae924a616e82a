"""The package's choice of slices, applied to the instances a job names: which it leaves out, which frames it takes."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.dicom.planes import planes_of_document
from shared.model_contract import AllSlices, SliceRule
from shared.models import Instance
from shared.repositories.parts import in_parts
from shared.slice_selection import left_out, selected_frames
from shared.slices import Slice


@dataclass(frozen=True)
class Chosen:
    """By instance id: in words why it is left out; and of those that are not taken whole, how many frames are."""

    left_out: dict[int, str] = field(default_factory=dict)
    num_frames: dict[int, int] = field(default_factory=dict)


def choose(session: Session, rule: SliceRule, instance_ids: Sequence[int]) -> Chosen:
    """Sort the instances of each series along its normal and take those that the rule selects.

    A multi-frame instance is a stack of its own and is never left out; its frames are.
    """
    chosen = Chosen()
    if isinstance(rule, AllSlices):
        return chosen
    series: defaultdict[int, dict[int, Slice]] = defaultdict(dict)
    for some in in_parts(instance_ids):
        columns = (Instance.id, Instance.series_id, Instance.number_of_frames, Instance.instance_number)
        named = (Instance.planes, Instance.sop_instance_uid, Instance.blob_sha256)
        for row in session.execute(select(*columns, *named).where(Instance.id.in_(some))):
            planes = planes_of_document(row.planes)
            if row.number_of_frames > 1:
                frames = selected_frames(rule, row.number_of_frames, planes)
                chosen.num_frames[row.id] = row.number_of_frames if frames is None else len(frames)
                continue
            name = f"{row.sop_instance_uid} {row.blob_sha256}"
            series[row.series_id][row.id] = Slice(planes[0] if planes else None, row.instance_number, name)
    for slices in series.values():
        ids = list(slices)
        chosen.left_out.update({ids[at]: why for at, why in left_out(rule, list(slices.values())).items()})
    return chosen
