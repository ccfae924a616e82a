"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): the same key gives the first answer again."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Thread
from uuid import UUID

from flask import Response, request
from sqlalchemy import ColumnElement, delete, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from api.services import Services
from shared.clock import utc_now
from shared.errors import ConflictError, IdempotencyMismatchError, InvalidRequestError
from shared.identifiers import new_id
from shared.models import IdempotencyKey
from shared.repositories.history import changed_rows
from shared.unit_of_work import UnitOfWork

# What is done in the transaction, and what is answered.
Act = Callable[[UnitOfWork], Response]

MAX_KEY_CHARACTERS = 255
# A reservation is renewed while its maker is at work; one whose maker died is free again after this long.
RESERVATION_S, RENEWAL_S = 20.0, 5.0


@dataclass(frozen=True)
class _Reservation:
    """The key as reserved by this request; `mine` finds its row only while nobody took it over."""

    principal_id: int
    key: str
    id: UUID

    def mine(self) -> ColumnElement[bool]:
        return (
            (IdempotencyKey.principal_id == self.principal_id)
            & (IdempotencyKey.key == self.key)
            & (IdempotencyKey.reservation == self.id)
        )


def once(services: Services, principal_id: int, payload: bytes, act: Act) -> Response:
    """Run `act` in one transaction with the stored answer; a request with the same key gets that answer again.

    Without the header, `act` just runs. Raises ConflictError while the first request is still at work, and
    IdempotencyMismatchError when the key came with another payload.
    """
    return prepared_once(services, principal_id, payload, lambda: act)


def prepared_once(services: Services, principal_id: int, payload: bytes, prepare: Callable[[], Act]) -> Response:
    """`once`, of an act that `prepare` makes before the transaction begins: nobody waits for what takes long."""
    key = _key_of_request()
    if key is None:
        return _act(services, prepare(), None)
    fingerprint = hashlib.sha256(request.path.encode() + b"\n" + payload).hexdigest()
    reservation = _Reservation(principal_id, key, new_id())
    try:
        known = _reserve(services, reservation, fingerprint)
    except SQLAlchemyError:
        # It may have been committed all the same.
        _give_up(services, reservation)
        raise
    if known is not None:
        return known
    try:
        with _kept(services, reservation):
            return _act(services, prepare(), reservation)
    except BaseException:
        _give_up(services, reservation)
        raise


@contextlib.contextmanager
def _kept(services: Services, reservation: _Reservation) -> Iterator[None]:
    """Renew the reservation for as long as its request is at work, however long that is."""
    done = Event()

    def renew() -> None:
        while not done.wait(RENEWAL_S):
            # What fails is tried again; without the row there is nothing to renew any more.
            with contextlib.suppress(SQLAlchemyError), services.unit_of_work() as uow:
                still = reservation.mine() & IdempotencyKey.status.is_(None)
                until = utc_now() + timedelta(seconds=RESERVATION_S)
                uow.session.execute(update(IdempotencyKey).where(still).values(expires_at=until))

    renewing = Thread(target=renew, name="idempotency-key", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()


def _give_up(services: Services, reservation: _Reservation) -> None:
    """A failed attempt never blocks a later one; where this fails too, the reservation runs out."""
    with contextlib.suppress(SQLAlchemyError), services.unit_of_work() as uow:
        uow.session.execute(delete(IdempotencyKey).where(reservation.mine(), IdempotencyKey.status.is_(None)))


def _key_of_request() -> str | None:
    sent = request.headers.get("Idempotency-Key")
    if sent is None:
        return None
    key = sent.strip().strip('"')
    if not key or len(key) > MAX_KEY_CHARACTERS:
        raise InvalidRequestError(f"Idempotency-Key must have 1 to {MAX_KEY_CHARACTERS} characters; a UUID is best.")
    return key


def _reserve(services: Services, reservation: _Reservation, fingerprint: str) -> Response | None:
    """The answer that the key has already; None: it is reserved now."""
    principal_id, key = reservation.principal_id, reservation.key
    try:
        with services.unit_of_work() as uow:
            session = uow.session
            row = session.get(IdempotencyKey, (principal_id, key), with_for_update=True)
            if row is not None and row.expires_at > utc_now():
                return _answer(row, fingerprint)
            if row is not None:
                session.delete(row)
                session.flush()
            session.add(
                IdempotencyKey(
                    principal_id=principal_id,
                    key=key,
                    fingerprint=fingerprint,
                    reservation=reservation.id,
                    expires_at=utc_now() + timedelta(seconds=RESERVATION_S),
                )
            )
    except IntegrityError as error:
        raise _at_work() from error
    return None


def _at_work() -> ConflictError:
    return ConflictError("A request with this Idempotency-Key is still at work; ask again shortly.", retry_after_s=1)


def _answer(row: IdempotencyKey, fingerprint: str) -> Response:
    if row.fingerprint != fingerprint:
        raise IdempotencyMismatchError(
            "This Idempotency-Key came before with another payload; use a new key for a new request."
        )
    if row.status is None:
        raise _at_work()
    response = Response(row.body, status=row.status, content_type="application/json")
    if row.location:
        response.headers["Location"] = row.location
    response.headers["Idempotent-Replay"] = "true"
    return response


def _act(services: Services, act: Act, reservation: _Reservation | None) -> Response:
    with services.unit_of_work() as uow:
        response = act(uow)
        if reservation is not None:
            statement = (
                update(IdempotencyKey)
                .where(reservation.mine())
                .values(
                    status=response.status_code,
                    location=response.headers.get("Location"),
                    body=response.get_data(),
                    expires_at=utc_now() + timedelta(seconds=services.settings.idempotency_ttl_s),
                )
            )
            if changed_rows(uow.session.execute(statement)) == 0:
                raise _at_work()
    return response
