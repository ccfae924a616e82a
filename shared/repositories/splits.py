"""What each labelled patient's images are for: settled at the first label, and the holdout for ever."""

from collections.abc import Mapping, Sequence

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from shared.clock import utc_now
from shared.config import Settings
from shared.draw import drawn_share
from shared.models import Patient, PatientSplit
from shared.repositories.parts import in_parts
from shared.states import Split


def splits_of(session: Session, patients: Sequence[int]) -> dict[int, Split | None]:
    """The split of each of these patients that has one; None: it learns."""
    found: dict[int, Split | None] = {}
    for some in in_parts(sorted(set(patients))):
        statement = select(PatientSplit.patient_id, PatientSplit.split).where(PatientSplit.patient_id.in_(some))
        found.update({row.patient_id: row.split for row in session.execute(statement)})
    return found


def may_become(before: Split | None, wanted: Split) -> bool:
    """False where a patient would come out of the holdout, or into it: what was learnt from cannot judge."""
    return (before is Split.HOLDOUT) == (wanted is Split.HOLDOUT)


def drawn_splits(session: Session, patients: Sequence[int], settings: Settings) -> dict[int, Split | None]:
    """Who of these patients goes into the holdout, by a salted hash of the patient: None where not.

    The same patient gets the same answer in every database with this salt and share.
    """
    drawn: dict[int, Split | None] = {}
    whose = (Patient.id, Patient.issuer, Patient.patient_id, Patient.anonymous_study_uid)
    for some in in_parts(sorted(set(patients))):
        for row_id, *identity in session.execute(select(*whose).where(Patient.id.in_(some))):
            share = drawn_share(settings.holdout_salt, *identity)
            drawn[row_id] = Split.HOLDOUT if share < settings.holdout_share else None
    return drawn


def settle_splits(session: Session, patients: Sequence[int], settings: Settings) -> None:
    """Draw for those who have no split yet; call `lock_labels` first."""
    before = splits_of(session, patients)
    drawn = drawn_splits(session, [one for one in patients if one not in before], settings)
    keep_splits(session, before, drawn | before)


def keep_splits(session: Session, before: Mapping[int, Split | None], after: Mapping[int, Split | None]) -> None:
    """Write what is new in `after` or differs from `before`."""
    at = utc_now()
    fresh = [
        {"patient_id": one, "split": after[one], "is_holdout": after[one] is Split.HOLDOUT, "created_at": at}
        for one in sorted(after)
        if one not in before
    ]
    if fresh:
        session.execute(insert(PatientSplit), fresh)
    for split in (Split.TRAIN, Split.VAL):
        moved = sorted(one for one in after if one in before and after[one] is split and before[one] is not split)
        for some in in_parts(moved):
            session.execute(update(PatientSplit).where(PatientSplit.patient_id.in_(some)).values(split=split))
