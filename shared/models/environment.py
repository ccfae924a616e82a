"""What predictions were computed in."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, RowId, Sha256


class Environment(Base):
    """Versions and the machine, as a worker found them when it started; one row for all that found the same."""

    __tablename__ = "environment"

    id: Mapped[RowId]
    digest: Mapped[Sha256] = mapped_column(unique=True)
    document: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
