"""Items that wait for an outcome, and how many attempts began on them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from shared.dicom.planes import planes_of_document
from shared.model_contract import AllSlices, SliceRule
from shared.models import Instance, Item, table_of
from shared.repositories.parts import in_parts
from shared.slice_selection import selected_frames
from shared.states import ItemState

ALL_SLICES = AllSlices()

_ITEMS = table_of(Item).c
# Made once, and on the table itself: building a statement takes longer than running it.
_ADD_TRIES = (
    update(table_of(Item))
    .where(
        _ITEMS.id.in_(bindparam("ids", expanding=True)),
        _ITEMS.state == ItemState.PENDING,
        _ITEMS.tries >= -bindparam("number", type_=_ITEMS.tries.type),
    )
    .values(tries=_ITEMS.tries + bindparam("number", type_=_ITEMS.tries.type))
)


@dataclass(frozen=True)
class PendingItem:
    """What a worker needs to know to predict on an item; `tries` that ended without a word make it a suspect.

    `frames` are the numbers of those to predict on, None for all; `number_of_frames` says how many that is.
    """

    item_id: int
    shard_id: int
    instance_id: int
    blob_sha256: str
    number_of_frames: int
    tries: int = 0
    frames: tuple[int, ...] | None = None


def pending_items(session: Session, shard_ids: Sequence[int], rule: SliceRule = ALL_SLICES) -> list[PendingItem]:
    """The items of these shards that still want an outcome, in order; `rule` selects their frames."""
    planes = (Instance.planes,) if not isinstance(rule, AllSlices) else ()
    columns = (Item.id, Item.shard_id, Instance.id, Instance.blob_sha256, Instance.number_of_frames, Item.tries)
    statement = (
        select(*columns, *planes)
        .join(Instance, Instance.id == Item.instance_id)
        .where(Item.shard_id.in_(shard_ids), Item.state == ItemState.PENDING)
        .order_by(Item.id)
    )
    width = len(columns)
    return [_pending(rule, PendingItem(*row[:width]), *row[width:]) for row in session.execute(statement)]


def _pending(rule: SliceRule, item: PendingItem, *planes: Any) -> PendingItem:
    frames = selected_frames(rule, item.number_of_frames, planes_of_document(*planes)) if planes else None
    return item if frames is None else replace(item, number_of_frames=len(frames), frames=frames)


def begin_items(session: Session, item_ids: Sequence[int]) -> None:
    """Note that an attempt begins on these: whatever dies of one, its name is in the database before."""
    _add_tries(session, item_ids, 1)


def take_back_tries(session: Session, item_ids: Sequence[int]) -> None:
    """An attempt that was given back does not count; nor does it where its begin was not committed after all."""
    _add_tries(session, item_ids, -1)


def _add_tries(session: Session, item_ids: Sequence[int], number: int) -> None:
    for some in in_parts(item_ids):
        session.execute(_ADD_TRIES, {"ids": some, "number": number})
