"""Rows of the content store."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, BigInt, Sha256, enum_column
from shared.states import EraseState


class Blob(Base):
    """Bytes named by their sha256; the row outlives erased bytes."""

    __tablename__ = "blob"

    sha256: Mapped[Sha256] = mapped_column(primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInt)
    media_type: Mapped[str] = mapped_column(String(64))
    erase_state: Mapped[EraseState] = mapped_column(enum_column(EraseState), default=EraseState.PRESENT)
    created_at: Mapped[datetime]
