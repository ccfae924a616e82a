"""Labels: what they speak of, what a source said last, and which source decides where they disagree.

A signed review decides over imports; among reviews of several models and among imports, the one that came last.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, insert, literal, or_, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from shared.clock import utc_now
from shared.db import AdvisoryLock, take_lock
from shared.models import Instance, Label, Patient, Series, Study
from shared.models.label import REVIEW
from shared.repositories.history import changed_rows
from shared.repositories.parts import in_parts
from shared.states import TargetLevel

# What names a target of each level, the most specific first.
IDENTIFIERS = {
    TargetLevel.INSTANCE: "sop_instance_uid",
    TargetLevel.STUDY: "study_instance_uid",
    TargetLevel.PATIENT: "patient_id",
}


@dataclass(frozen=True)
class Target:
    """A row of the DICOM index with all the identifiers that may name it."""

    level: TargetLevel
    id: int
    patient_row: int
    sop_instance_uid: str
    study_instance_uid: str
    patient_id: str
    issuer: str


# Level, row of its table, finding, source, model.
Key = tuple[TargetLevel, int, str, str, str]
Said = tuple[bool, str, UUID | None]


@dataclass(frozen=True)
class NewLabel:
    """What a source says of one finding."""

    target: Target
    finding: str
    value: bool
    source: str
    who: str
    review_id: UUID | None = None
    model_name: str = ""

    @property
    def said(self) -> Said:
        """What is kept of it as it is; a review that says it again is another word."""
        return self.value, self.who, self.review_id

    @property
    def key(self) -> Key:
        """A source has one standing label for each."""
        return (self.target.level, self.target.id, self.finding, self.source, self.model_name)


def lock_labels(session: Session) -> None:
    """Let one transaction at a time add labels: two would miss each other's."""
    take_lock(session.connection(), AdvisoryLock.LABELS)


def targets_named(session: Session, level: TargetLevel, names: Sequence[str]) -> dict[str, list[Target]]:
    """The rows of a level by SOP Instance UID, Study Instance UID or PatientID; several where a name is not unique."""
    found: dict[str, list[Target]] = {}
    for some in in_parts(sorted(set(names))):
        for row_id, patient_row, sop_uid, study_uid, patient_id, issuer in session.execute(_named(level, some)):
            target = Target(level, row_id, patient_row, sop_uid, study_uid, patient_id, issuer)
            found.setdefault(getattr(target, IDENTIFIERS[level]), []).append(target)
    return found


def _named(level: TargetLevel, names: Sequence[str]) -> Select[int, int, str, str, str, str]:
    whose = (Patient.patient_id, Patient.issuer)
    if level is TargetLevel.INSTANCE:
        uids = (Instance.sop_instance_uid, Study.study_instance_uid)
        statement = select(Instance.id, Patient.id, *uids, *whose).join(Instance.series).join(Series.study)
        return statement.join(Study.patient).where(Instance.sop_instance_uid.in_(names))
    if level is TargetLevel.STUDY:
        statement = select(Study.id, Patient.id, literal(""), Study.study_instance_uid, *whose).join(Study.patient)
        return statement.where(Study.study_instance_uid.in_(names))
    statement = select(Patient.id, Patient.id, literal(""), literal(""), *whose)
    return statement.where(Patient.patient_id.in_(names), Patient.patient_id != "")


def add_labels(session: Session, principal_id: int, labels: Sequence[NewLabel]) -> Counter[str]:
    """Keep what is new, in order; counts `added`, `changed` and `unchanged`. Call `lock_labels` first.

    Of several about the same thing by the same source the last stands.
    """
    standing = _standing(session, labels)
    outcomes: Counter[str] = Counter()
    latest: dict[Key, NewLabel] = {}
    said = {key: found for key, (_, found) in standing.items()}
    for label in labels:
        before = said.get(label.key)
        outcomes["added" if before is None else "unchanged" if before == label.said else "changed"] += 1
        said[label.key], latest[label.key] = label.said, label
    fresh = [label for key, label in latest.items() if key not in standing or standing[key][1] != said[key]]
    at = utc_now()
    for some in in_parts([standing[label.key][0] for label in fresh if label.key in standing]):
        session.execute(update(Label).where(Label.id.in_(some)).values(superseded_at=at))
    rows = [
        {
            "level": label.target.level,
            "target_id": label.target.id,
            "patient_id": label.target.patient_row,
            "finding": label.finding,
            "value": label.value,
            "source": label.source,
            "who": label.who,
            "principal_id": principal_id,
            "review_id": label.review_id,
            "model_name": label.model_name,
            "created_at": at,
        }
        for label in fresh
    ]
    if rows:
        session.execute(insert(Label), rows)
    return outcomes


def withdraw_labels(session: Session, *, review_id: UUID) -> int:
    """What a review said stands no more, and nothing takes its place; how many labels that were."""
    of_review = (Label.review_id == review_id, Label.superseded_at.is_(None))
    return changed_rows(session.execute(update(Label).where(*of_review).values(superseded_at=utc_now())))


def withdraw_review(session: Session, target: Target, finding: str, model_name: str) -> int:
    """What reviews of one model's reports said of one thing stands no more, if they said anything."""
    of_it = (Label.level == target.level, Label.target_id == target.id, Label.finding == finding)
    of_model = (Label.source == REVIEW, Label.model_name == model_name, Label.superseded_at.is_(None))
    statement = update(Label).where(*of_it, *of_model)
    return changed_rows(session.execute(statement.values(superseded_at=utc_now())))


def _standing(session: Session, labels: Sequence[NewLabel]) -> Mapping[Key, tuple[int, Said]]:
    columns = (Label.level, Label.target_id, Label.finding, Label.source, Label.model_name)
    found: dict[Key, tuple[int, Said]] = {}
    for some in in_parts(sorted({label.key for label in labels})):
        statement = select(*columns, Label.id, Label.value, Label.who, Label.review_id)
        rows = session.execute(statement.where(tuple_(*columns).in_(some), Label.superseded_at.is_(None)))
        found.update({row[:5]: (row[5], row[6:]) for row in rows})
    return found


def count_labels_since(session: Session, findings: Sequence[str], since: datetime | None) -> int:
    """How many words about these findings came after a moment, or ever."""
    statement = select(func.count()).select_from(Label).where(Label.finding.in_(findings))
    return session.scalar(statement if since is None else statement.where(Label.created_at > since)) or 0


def is_contradicted() -> ColumnElement[bool]:
    """True of a standing label where another source says the opposite of the same thing."""
    return _rival_exists(lambda rival: rival.value != Label.value)


def decides() -> ColumnElement[bool]:
    """True of the standing label that counts where several sources speak of the same thing."""

    def beats(rival: type[Label]) -> ColumnElement[bool]:
        return or_(_rank(rival) > _rank(Label), and_(_rank(rival) == _rank(Label), rival.id > Label.id))

    return ~_rival_exists(beats)


def _rank(label: type[Label]) -> ColumnElement[int]:
    return case((label.source == REVIEW, 1), else_=0)


def _rival_exists(condition: Callable[[type[Label]], ColumnElement[bool]]) -> ColumnElement[bool]:
    rival = aliased(Label)
    same = (rival.level == Label.level, rival.target_id == Label.target_id, rival.finding == Label.finding)
    return exists().where(*same, rival.superseded_at.is_(None), condition(rival))
