"""Engine and sessions, the same on SQLite (WAL, foreign keys, synchronous=FULL) and PostgreSQL."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Dialect,
    Engine,
    Float,
    bindparam,
    create_engine,
    event,
    literal,
    select,
    text,
)
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.expression import ColumnElement, FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from shared.config import Settings
from shared.json_text import to_json

MIN_CONNECT_TIMEOUT_S = 2  # libpq takes no less
READ_ONLY = "overread_read_only"

# A thread that waits longer for the others of its process asks the database itself.
LONGEST_TURN_S = 15.0
# Times the database's timeout that a transaction may idle: far longer than any of ours computes between two statements.
IDLE_TIMEOUTS = 4


class AdvisoryLock(IntEnum):
    """What one transaction at a time does; any fixed numbers, since they only have to differ."""

    SCHEMA = 7_301_115
    INDEX = 7_301_116
    LABELS = 7_301_117
    SEALS = 7_301_118
    ADMINS = 7_301_119


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime, also on SQLite, which knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Refuse naive times, convert the rest to UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime came, an aware one was expected: use datetime.now(UTC)")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Give aware UTC times back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class db_now(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function it is
    """The database's own clock, moved by `offset_s` seconds: leases never depend on a worker's clock.

    The offset is a parameter of the statement, so that statements that differ in nothing else are compiled once.
    """

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, offset_s: float | ColumnElement[float] = 0.0) -> None:
        is_number = isinstance(offset_s, int | float)
        super().__init__(literal(float(offset_s), Float) if is_number else offset_s)


@compiles(db_now, "sqlite")
def _sqlite_now(element: db_now, compiler: Any, **given: Any) -> str:
    # Three digits from SQLite, six in what SQLAlchemy stores: padded so that text order is time order.
    offset = compiler.process(element.clauses, **given)
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', {offset} || ' seconds') || '000'"


@compiles(db_now, "postgresql")
def _postgresql_now(element: db_now, compiler: Any, **given: Any) -> str:
    return f"(clock_timestamp() + {compiler.process(element.clauses, **given)} * interval '1 second')"


class seconds_of(FunctionElement[int]):  # noqa: N801 - reads as the SQL function it is
    """A time as whole seconds since 1970 UTC, to be divided into steps by the database."""

    type = BigInteger()
    inherit_cache = True


@compiles(seconds_of, "sqlite")
def _sqlite_seconds(element: seconds_of, compiler: Any, **given: Any) -> str:
    return f"CAST(strftime('%s', {compiler.process(element.clauses, **given)}) AS INTEGER)"


@compiles(seconds_of, "postgresql")
def _postgresql_seconds(element: seconds_of, compiler: Any, **given: Any) -> str:
    return f"CAST(floor(extract(epoch FROM {compiler.process(element.clauses, **given)})) AS BIGINT)"


class _List(TypeDecorator[Sequence[Any]]):
    """Many values as one parameter."""

    impl = JSON
    cache_ok = True

    def __init__(self, kind: TypeEngine[Any]) -> None:
        super().__init__()
        self.kind = kind

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """An array on PostgreSQL; SQLite has none."""
        return dialect.type_descriptor(ARRAY(self.kind) if dialect.name == "postgresql" else JSON())


class among(FunctionElement[bool]):  # noqa: N801 - reads as the SQL it is
    """`column IN` the list that is given under this name.

    One parameter, however many there are: they have no limit, and PostgreSQL does not plan for each of them.
    """

    type = Boolean()
    inherit_cache = True

    def __init__(self, column: InstrumentedAttribute[Any], name: str) -> None:
        super().__init__(column, bindparam(name, type_=_List(column.type)))


@compiles(among, "sqlite")
def _sqlite_among(element: among, compiler: Any, **given: Any) -> str:
    column, values = (compiler.process(clause, **given) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - both are SQL that the compiler made


@compiles(among, "postgresql")
def _postgresql_among(element: among, compiler: Any, **given: Any) -> str:
    column, values = (compiler.process(clause, **given) for clause in element.clauses)
    return f"{column} = ANY({values})"


def _prepare_sqlite(engine: Engine, timeout_s: float) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # We begin transactions ourselves (below): the driver's implicit deferred BEGIN gives lock errors.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            # First: changing the journal mode may have to wait for another connection too.
            f"busy_timeout={round(timeout_s * 1000)}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # A writer takes the lock at once and waits for it; upgrading a read lock later fails without waiting.
        read_only = connection.get_execution_options().get(READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def make_engine(settings: Settings, *, may_idle: bool = False) -> Engine:
    """An engine for the configured database, which says within `database_timeout_s` that it cannot be had.

    PostgreSQL ends a transaction in which nothing was asked for several times as long, unless it `may_idle`.
    """
    url = make_url(settings.database_url)
    timeout_s = settings.database_timeout_s
    if url.get_backend_name() == "sqlite":
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        engine = create_engine(url, json_serializer=to_json, pool_size=32, max_overflow=32, pool_timeout=timeout_s)
        _prepare_sqlite(engine, timeout_s)
        return engine
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        json_serializer=to_json,
        pool_pre_ping=True,
        pool_size=16,
        max_overflow=16,
        pool_timeout=timeout_s,
        connect_args={
            "connect_timeout": max(MIN_CONNECT_TIMEOUT_S, round(timeout_s)),
            # A server that vanished without a word (a cut cable) is given up as soon.
            "tcp_user_timeout": round(timeout_s * 1000),
            "keepalives_idle": max(1, round(timeout_s)),
        },
    )
    _prepare_postgresql(engine, 0.0 if may_idle else timeout_s * IDLE_TIMEOUTS)
    return engine


def _prepare_postgresql(engine: Engine, idle_s: float) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # A process that is stopped within a transaction must not keep its locks for ever: recovery would wait for them.
        with connection.cursor() as cursor:
            cursor.execute(f"SET idle_in_transaction_session_timeout = {round(idle_s * 1000)}")
        connection.commit()


def database_time(session: Session) -> datetime:
    """What the database's clock shows: the same for all hosts, whatever their own clocks say."""
    return session.execute(select(db_now())).scalar_one()


def take_lock(connection: Connection, lock: AdvisoryLock) -> None:
    """Let one transaction at a time go on from here, also on PostgreSQL, as SQLite's write lock does anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": int(lock)})


class WritersTurn:
    """Lets the threads of a process write to SQLite one after the other; PostgreSQL lets all write at once.

    SQLite has one writer, and who waits for its lock sleeps for up to a tenth of a second between two looks: threads
    that wait here are woken at once. Who waits too long goes on, and hears from the database itself.
    """

    _locks: ClassVar[WeakKeyDictionary[Engine, threading.Lock]] = WeakKeyDictionary()

    def __init__(self, engine: Engine) -> None:
        is_needed = engine.dialect.name == "sqlite"
        self._lock = self._locks.setdefault(engine, threading.Lock()) if is_needed else None
        self._is_ours = False

    def take(self) -> None:
        """Wait for the turn."""
        self._is_ours = self._lock is not None and self._lock.acquire(timeout=LONGEST_TURN_S)

    def give_back(self) -> None:
        """Let the next one write; doing it twice is fine."""
        if self._lock is not None and self._is_ours:
            self._is_ours = False
            self._lock.release()


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session for queries only; nothing is committed."""
    with Session(engine.execution_options(**{READ_ONLY: True}), expire_on_commit=False) as session:
        yield session
