"""Passwords of people, kept as argon2id says (RFC 9106); a name that is not there takes as long as a wrong password."""

from functools import cache
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

LEAST_CHARACTERS, MOST_CHARACTERS = 12, 256

_hasher = PasswordHasher()
# Each takes 64 MiB and a core for a moment, and anybody may ask: so many at once, the others wait.
_AT_ONCE = BoundedSemaphore(2)


def hash_password(password: str) -> str:
    """What is stored of it: salt, parameters and hash."""
    return _hasher.hash(password)


def is_password(stored: str | None, given: str) -> bool:
    """Whether it is the one that was stored; never where none was."""
    try:
        with _AT_ONCE:
            _hasher.verify(stored or _of_nobody(), given)
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


@cache
def _of_nobody() -> str:
    return _hasher.hash("nobody has this one")
