"""The names that documents give to what they hold: the same for the same thing, always. Pure."""

from datetime import UTC, datetime
from uuid import UUID, uuid5

from api.documents.source import Source

NAMESPACE = UUID("5f0c3a52-6c1f-5d0e-9b53-2f7a4c1f6c11")


def made_uuid(*names: object) -> UUID:
    """The same UUID for the same names."""
    return uuid5(NAMESPACE, "/".join(map(str, names)))


def made_uid(*names: object) -> str:
    """The same DICOM UID for the same names: a UUID below the root 2.25 (PS3.5, B.2)."""
    return f"2.25.{made_uuid(*names).int}"


def version_uid(source: Source, role: str, *names: object) -> str:
    """The DICOM UID of what plays this role in this version of the report."""
    return made_uid(source.document["version"]["id"], role, *names)


def made_at(source: Source) -> datetime:
    """When the version was made, in UTC."""
    return datetime.fromisoformat(source.document["version"]["created_at"]).astimezone(UTC)
