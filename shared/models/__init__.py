"""SQLAlchemy tables, a file per noun; importing this package fills the metadata that migrations compare with."""

from shared.models.base import Base, table_of
from shared.models.blob import Blob
from shared.models.dataset import Dataset, DatasetPatient
from shared.models.environment import Environment
from shared.models.follow_up import FollowUp, FollowUpMove
from shared.models.gate import GateDecision
from shared.models.imaging import Instance, Patient, Series, Study
from shared.models.job import History, Item, Job, JobPatient, Shard
from shared.models.label import Label, PatientSplit
from shared.models.notice import Notice, Webhook
from shared.models.operations import (
    AuditEvent,
    AuditSeal,
    Depth,
    IdempotencyKey,
    LaneBrake,
    Pace,
    Tally,
    WorkerProcess,
)
from shared.models.principal import Principal, Project, Site, Token
from shared.models.registry import EngineProof, HeatMap, ModelVersion, Prediction, Promotion
from shared.models.report import Report, ReportRendition
from shared.models.review import Review, ReviewVerdict
from shared.models.schedule import Schedule, ScheduleRun
from shared.models.training import TrainingRun
from shared.models.upload import Upload, UploadFile
from shared.models.verification import Verification

__all__ = [
    "AuditEvent",
    "AuditSeal",
    "Base",
    "Blob",
    "Dataset",
    "DatasetPatient",
    "Depth",
    "EngineProof",
    "Environment",
    "FollowUp",
    "FollowUpMove",
    "GateDecision",
    "HeatMap",
    "History",
    "IdempotencyKey",
    "Instance",
    "Item",
    "Job",
    "JobPatient",
    "Label",
    "LaneBrake",
    "ModelVersion",
    "Notice",
    "Pace",
    "Patient",
    "PatientSplit",
    "Prediction",
    "Principal",
    "Project",
    "Promotion",
    "Report",
    "ReportRendition",
    "Review",
    "ReviewVerdict",
    "Schedule",
    "ScheduleRun",
    "Series",
    "Shard",
    "Site",
    "Study",
    "Tally",
    "Token",
    "TrainingRun",
    "Upload",
    "UploadFile",
    "Verification",
    "Webhook",
    "WorkerProcess",
    "table_of",
]
