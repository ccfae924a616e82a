"""Identifiers that Overread makes itself; none says anything about a patient."""

import secrets
from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562): sorts by the time it was made."""
    return uuid7()


def new_patient_key() -> str:
    """A random key for URLs, 128 bits, that says nothing of the PatientID behind it."""
    return secrets.token_hex(16)
