"""What all tables share: naming, enum and time columns."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, cast

from sqlalchemy import JSON, BigInteger, Enum, Integer, MetaData, String, Table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

from shared.db import UtcDateTime

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

# SQLite gives row ids to INTEGER keys only; PostgreSQL gets 64 bits.
BigInt = BigInteger().with_variant(Integer(), "sqlite")
# None is NULL in SQL, not the JSON word null.
Document = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

RowId = Annotated[int, mapped_column(BigInt, primary_key=True, autoincrement=True)]
Sha256 = Annotated[str, mapped_column(String(64))]
Uid = Annotated[str, mapped_column(String(64))]


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: Document, list[Any]: Document}  # noqa: RUF012 - SQLAlchemy's name


def table_of(model: type[Base]) -> Table:
    """The table itself, for statements that need nothing of the ORM: building those takes a fraction of the time."""
    return cast("Table", model.__table__)


def enum_column(kind: type[StrEnum]) -> Enum:
    """An enum stored by value as text, so that both databases hold the same."""
    return Enum(kind, native_enum=False, length=64, values_callable=lambda members: [m.value for m in members])
