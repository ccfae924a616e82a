"""Every state enum beside its table of legal moves, and the reasons that rows carry."""

from enum import StrEnum


class Lane(StrEnum):
    """A queue, named by how soon its work is wanted; training has one of its own, behind all that predict."""

    URGENT = "urgent"
    ROUTINE = "routine"
    BACKGROUND = "background"
    TRAINING = "training"


INFERENCE_LANES = (Lane.URGENT, Lane.ROUTINE, Lane.BACKGROUND)


class JobKind(StrEnum):
    """What a job asks for."""

    INFERENCE = "inference"
    TRAINING = "training"
    VERIFICATION = "verification"  # of a report: does the record say what it said


class JobState(StrEnum):
    """A job's state; maps onto DICOM UPS and FHIR Task (docs/glossary.md)."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset(
        {JobState.RUNNING, JobState.DONE, JobState.PARTIAL, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.RUNNING: frozenset({JobState.DONE, JobState.PARTIAL, JobState.FAILED, JobState.CANCELLED}),
    JobState.DONE: frozenset(),
    JobState.PARTIAL: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


class ShardState(StrEnum):
    """A shard's state: what one worker claims."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"


SHARD_MOVES: dict[ShardState, frozenset[ShardState]] = {
    ShardState.QUEUED: frozenset({ShardState.RUNNING, ShardState.CANCELLED}),
    ShardState.RUNNING: frozenset({ShardState.QUEUED, ShardState.DONE, ShardState.QUARANTINED, ShardState.CANCELLED}),
    ShardState.DONE: frozenset(),
    ShardState.QUARANTINED: frozenset(),
    ShardState.CANCELLED: frozenset(),
}


class ItemState(StrEnum):
    """The outcome of one thing in one job."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"  # on purpose: nothing is missing without it
    CANCELLED = "cancelled"


ITEM_MOVES: dict[ItemState, frozenset[ItemState]] = {
    ItemState.PENDING: frozenset({ItemState.DONE, ItemState.FAILED, ItemState.SKIPPED, ItemState.CANCELLED}),
    ItemState.DONE: frozenset(),
    ItemState.FAILED: frozenset(),
    ItemState.SKIPPED: frozenset(),
    ItemState.CANCELLED: frozenset(),
}


class ModelState(StrEnum):
    """A model version's standing; one champion per model name."""

    CANDIDATE = "candidate"
    CHAMPION = "champion"
    HELD = "held"
    REJECTED = "rejected"
    RETIRED = "retired"


class PromotionKind(StrEnum):
    """How a version came to serve its name."""

    FIRST = "first"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"


class GateOutcome(StrEnum):
    """What came of a candidate that was compared with the champion."""

    PROMOTED = "promoted"
    PASSED = "passed"  # a person is to promote it
    HELD = "held"


MODEL_MOVES: dict[ModelState, frozenset[ModelState]] = {
    ModelState.CANDIDATE: frozenset({ModelState.CHAMPION, ModelState.HELD, ModelState.REJECTED}),
    ModelState.CHAMPION: frozenset({ModelState.RETIRED}),
    ModelState.HELD: frozenset({ModelState.CHAMPION, ModelState.REJECTED}),
    ModelState.REJECTED: frozenset(),
    ModelState.RETIRED: frozenset({ModelState.CHAMPION}),
}


class ProofState(StrEnum):
    """How far the proof of a model version's engines on one kind of hardware is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


PROOF_MOVES: dict[ProofState, frozenset[ProofState]] = {
    ProofState.WAITING: frozenset({ProofState.RUNNING}),
    # Running again: its worker was lost.
    ProofState.RUNNING: frozenset(ProofState),
    # Again: a person asked for it.
    ProofState.DONE: frozenset({ProofState.WAITING}),
    ProofState.FAILED: frozenset({ProofState.WAITING}),
}


class EraseState(StrEnum):
    """Whether a blob's bytes are still there; the row outlives them."""

    PRESENT = "present"
    ERASING = "erasing"
    ERASED = "erased"


ERASE_MOVES: dict[EraseState, frozenset[EraseState]] = {
    EraseState.PRESENT: frozenset({EraseState.ERASING}),
    EraseState.ERASING: frozenset({EraseState.ERASED}),
    EraseState.ERASED: frozenset({EraseState.PRESENT}),
}


class Explain(StrEnum):
    """For which findings of a frame a heat map is made; a background class never gets one."""

    POSITIVES = "positives"  # those at their threshold or over
    ALL = "all"
    NONE = "none"

    @property
    def covering(self) -> tuple["Explain", ...]:
        """What a prediction may have been made with to have the maps that this asks for."""
        order = (Explain.NONE, Explain.POSITIVES, Explain.ALL)
        return order[order.index(self) :]


class MapMethod(StrEnum):
    """How a heat map was computed."""

    CAM = "cam"  # the last feature maps, weighted by the dense layer behind the pooling
    GRAD_CAM = "grad_cam"  # weighted by the logit's gradient


class NoMap(StrEnum):
    """Why a finding has no heat map."""

    HEAD = "head"
    NOT_FINITE = "not_finite"
    FAILED = "failed"


NO_MAP_TEXTS: dict[NoMap, str] = {
    NoMap.HEAD: "What the network ends in gives no heat map, or none of a size that is kept.",
    NoMap.NOT_FINITE: "The heat map's values were no numbers that half precision holds.",
    NoMap.FAILED: "The engine failed while it computed the heat map.",
}


class FileOutcome(StrEnum):
    """What became of one uploaded file."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


class ReportStatus(StrEnum):
    """The machine's report is preliminary until a person signs it (the words are those of FHIR's DiagnosticReport)."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    AMENDED = "amended"
    RETRACTED = "retracted"


# From the newest version of a chain to the next one: new results make any report preliminary again.
REPORT_MOVES: dict[ReportStatus, frozenset[ReportStatus]] = {
    ReportStatus.PRELIMINARY: frozenset({ReportStatus.PRELIMINARY, ReportStatus.FINAL}),
    ReportStatus.FINAL: frozenset({ReportStatus.PRELIMINARY, ReportStatus.AMENDED, ReportStatus.RETRACTED}),
    ReportStatus.AMENDED: frozenset({ReportStatus.PRELIMINARY, ReportStatus.AMENDED, ReportStatus.RETRACTED}),
    ReportStatus.RETRACTED: frozenset({ReportStatus.PRELIMINARY, ReportStatus.FINAL}),
}

SIGNED_STATUSES = frozenset({ReportStatus.FINAL, ReportStatus.AMENDED})


class ReportOrigin(StrEnum):
    """What made a report version."""

    RESULTS = "results"  # of a job: new inputs
    REVIEW = "review"
    SIGNATURE = "signature"
    AMENDMENT = "amendment"
    RETRACTION = "retraction"

    @property
    def is_signature(self) -> bool:
        """Whether a physician answers for what the version says."""
        return self in (ReportOrigin.SIGNATURE, ReportOrigin.AMENDMENT)


class Verdict(StrEnum):
    """What a reviewer says of the decision on a finding."""

    AGREE = "agree"
    DISAGREE = "disagree"
    UNSURE = "unsure"


class Urgency(StrEnum):
    """How soon a follow-up is wanted, beside its date; the most urgent first."""

    URGENT = "urgent"
    ROUTINE = "routine"


class FollowUpAction(StrEnum):
    """What a package's rule suggests."""

    REVIEW = "review"
    CONTROL_STUDY = "control_study"
    REFERRAL = "referral"


class FollowUpState(StrEnum):
    """How far a suggested follow-up is; only people close one that somebody took on."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    POSTPONED = "postponed"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"  # nobody had taken it on, and the newest report suggests it no more


FOLLOW_UP_MOVES: dict[FollowUpState, frozenset[FollowUpState]] = {
    FollowUpState.OPEN: frozenset(
        {FollowUpState.ACKNOWLEDGED, FollowUpState.POSTPONED, FollowUpState.CLOSED, FollowUpState.WITHDRAWN}
    ),
    FollowUpState.ACKNOWLEDGED: frozenset({FollowUpState.POSTPONED, FollowUpState.CLOSED}),
    FollowUpState.POSTPONED: frozenset({FollowUpState.ACKNOWLEDGED, FollowUpState.POSTPONED, FollowUpState.CLOSED}),
    FollowUpState.CLOSED: frozenset(),
    FollowUpState.WITHDRAWN: frozenset(),
}


STANDING_FOLLOW_UPS = frozenset(state for state, moves in FOLLOW_UP_MOVES.items() if moves)


class RenditionFormat(StrEnum):
    """A document that is made of a report version on request."""

    HTML = "html"
    PDF = "pdf"
    SR = "sr"  # DICOM structured report, TID 1500
    SC = "sc"  # heat maps as DICOM Secondary Capture, in a zip
    FHIR_R4B = "fhir_r4b"
    FHIR_R5 = "fhir_r5"


class NoticeState(StrEnum):
    """How far the message to one target about one event is."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"  # given up; a person may have it sent again


NOTICE_MOVES: dict[NoticeState, frozenset[NoticeState]] = {
    NoticeState.PENDING: frozenset({NoticeState.SENT, NoticeState.DEAD}),
    NoticeState.SENT: frozenset({NoticeState.PENDING}),
    NoticeState.DEAD: frozenset({NoticeState.PENDING}),
}


class TargetLevel(StrEnum):
    """What a label speaks of, in the DICOM hierarchy."""

    PATIENT = "patient"
    STUDY = "study"
    INSTANCE = "instance"


class Split(StrEnum):
    """What a patient's images are for: to learn from, to choose by, or only to judge with."""

    TRAIN = "train"
    VAL = "val"
    HOLDOUT = "holdout"


class LabelRefusal(StrEnum):
    """Why a row of labels was not taken."""

    INVALID = "invalid"
    NOT_STORED = "not_stored"
    AMBIGUOUS = "ambiguous"
    SPLIT_IS_FIXED = "split_is_fixed"


class Overlap(StrEnum):
    """What a schedule does while the job of its last run is still open."""

    SKIP = "skip"
    QUEUE = "queue"
    CANCEL = "cancel"


class RunOrigin(StrEnum):
    """Why a run of a schedule came to be."""

    CALENDAR = "calendar"
    HAND = "hand"
    REST = "rest"  # of what the run before found


class RunState(StrEnum):
    """What became of a moment at which a schedule was due."""

    WAITING = "waiting"  # for the job of the run before
    FIRED = "fired"
    SKIPPED = "skipped"
    MISSED = "missed"
    FAILED = "failed"


RUN_MOVES: dict[RunState, frozenset[RunState]] = {
    RunState.WAITING: frozenset({RunState.FIRED, RunState.SKIPPED, RunState.FAILED}),
    RunState.FIRED: frozenset(),
    RunState.SKIPPED: frozenset(),
    RunState.MISSED: frozenset(),
    RunState.FAILED: frozenset(),
}


class Scope(StrEnum):
    """What a token may do; every route names one. `admin` covers all."""

    SUBMIT = "submit"
    READ = "read"
    REVIEW = "review"
    OPERATE = "operate"
    ADMIN = "admin"


class Role(StrEnum):
    """What a principal is in the house; a report is signed by a physician."""

    SUBMITTER = "submitter"
    OPERATOR = "operator"
    PHYSICIAN = "physician"
    ADMIN = "admin"


FINAL_JOB_STATES = frozenset(state for state, moves in JOB_MOVES.items() if not moves)
FINAL_ITEM_STATES = frozenset(state for state, moves in ITEM_MOVES.items() if not moves)
