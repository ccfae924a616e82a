"""Which of the database's errors will pass: it is away, busy or full, and the same thing may work later."""

import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

# SQLSTATE (PostgreSQL, appendix A). Most of these come as OperationalError, but not from every driver and moment.
DISK_FULL = "53100"
_PASSING_CLASSES = ("08", "53", "57", "58")  # connection, resources, operator's doing, system (such as I/O)
_READ_ONLY = "25006"  # a replica, until it takes over
_SQLITE_PRIMARY_CODE = 0xFF


def is_full(error: SQLAlchemyError) -> bool:
    """True when the database's disk has no room left."""
    cause = getattr(error, "orig", None)
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & _SQLITE_PRIMARY_CODE == sqlite3.SQLITE_FULL
    return _sqlstate(error) == DISK_FULL


def is_outage(error: SQLAlchemyError) -> bool:
    """True when the database cannot be reached or used now, also because it is full; False for errors of ours."""
    if isinstance(error, OperationalError | InterfaceError | PoolTimeoutError | PendingRollbackError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = _sqlstate(error)
    return error.connection_invalidated or state.startswith(_PASSING_CLASSES) or state == _READ_ONLY


def _sqlstate(error: SQLAlchemyError) -> str:
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""
