"""Proves the engines of registered models, beside the shards: in a thread and an engine process of its own."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError

from shared.backoff import backoff_s
from shared.db import reading
from shared.errors import EngineLostError, FencedOutError, InvalidModelPackageError, PermanentError, TransientError
from shared.golden_set import read_golden_set
from shared.model_contract import ModelContract
from shared.model_package import refusal_of
from shared.models import ModelVersion
from shared.models.registry import MAX_DETAIL
from shared.repositories.proofs import (
    ProofClaim,
    claim_proof,
    finish_proof,
    give_back_proof,
    hold_proof,
    latest_images,
    let_wait,
    put_off_proof,
    unproved,
)
from shared.repositories.registry import champions
from shared.states import ModelState, ProofState
from worker.engines.death import EngineDeathError
from worker.engines.host import MAX_ENGINES
from worker.engines.proof import FAILURES, MIN_INPUTS, Inputs, Proof
from worker.engines.wire import ENGINES_TARGET
from worker.models import served_model
from worker.runtime import Runtime

log = structlog.get_logger()

LOOK_S = 2.0
# Of stored images, so many at most are looked at for a golden set, and so many frames are taken of one.
MOST_LOOKED_AT = 512
FRAMES_OF_ONE = 4
# Beyond the longest step of a proof, which is loading an engine.
SPARE_LEASE_S = 60.0
HOLD_EVERY_S = 5.0
MAX_TRIES = 3
# After a try that ended its engine; doubles with each.
BACKOFF_S = 30.0
# Shards in hand go first.
NICENESS = 10


class _StoppedError(Exception):
    """The worker ends in the midst of a proof."""


class Prover(threading.Thread):
    """Looks every few seconds for a model version whose engines nobody has proved on this hardware."""

    def __init__(self, runtime: Runtime, *, target: str = ENGINES_TARGET) -> None:
        super().__init__(name="prover", daemon=True)
        self._runtime = runtime
        self._target = target
        self._stop_asked = threading.Event()
        # What was said last of versions that wait, and how many stored frames did not do.
        self._said: dict[str, str] = {}
        self._too_few: dict[str, int] = {}

    def run(self) -> None:
        """Work until stopped; what fails is tried again at the next look."""
        self._guarded(self.warm)
        while not self._stop_asked.wait(LOOK_S):
            if self._runtime.settings.engine == "fastest":
                self._guarded(self.prove_next)

    def end(self) -> None:
        """Stop; a proof that is being made is given back at its next step."""
        self._stop_asked.set()

    def _guarded(self, act: Callable[[], object]) -> None:
        try:
            act()
        except FencedOutError:
            log.info("proof_fenced_out")
        except (SQLAlchemyError, TransientError) as error:
            log.warning("prover_put_off", error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - the boundary of this thread: without it nothing is proved any more
            log.error("prover_failed", error=type(error).__name__)  # noqa: TRY400 - texts could hold patient data

    def warm(self) -> None:
        """Load what the champions are served by, so that the first job after a start does not wait for it."""
        with reading(self._runtime.engine) as session:
            models = [served_model(self._runtime, session, version) for version in champions(session)[:MAX_ENGINES]]
        for model in models:
            self._runtime.engines.prepare(model)

    def prove_next(self) -> bool:
        """Prove one version, if there are inputs for one; True when something was proved."""
        runtime = self._runtime
        with reading(runtime.engine) as session:
            versions = unproved(session, runtime.hardware)
        for version in versions:
            if version.digest not in self._said:
                self._welcome(version)
            try:
                inputs = self._inputs(version)
            except PermanentError as error:
                self._say(version, error.message)
                continue
            if inputs is not None and self._claim_and_prove(version, *inputs):
                return True
        return False

    def _welcome(self, version: ModelVersion) -> None:
        """A version seen for the first time: who submits to a champion at once finds the reference ready."""
        self._said[version.digest] = ""
        self._warm_if_champion(version)

    def _claim_and_prove(self, version: ModelVersion, inputs: Inputs, num_drawn: int) -> bool:
        runtime = self._runtime
        with runtime.unit_of_work() as uow:
            claim = claim_proof(
                uow.session, version.digest, runtime.hardware, runtime.name, self._lease_s(), max_tries=MAX_TRIES
            )
        if claim is None:
            return False
        log.info("proof_begins", model_version=version.id, inputs=len(inputs.frames), drawn=num_drawn)
        values = {"num_inputs": len(inputs.frames), "num_drawn": num_drawn}
        try:
            rows = self._prove(version, claim, inputs)
        except _StoppedError:
            with runtime.unit_of_work() as uow:
                give_back_proof(uow.session, claim, detail="its worker ended; the next one begins again")
        except (EngineDeathError, EngineLostError) as error:
            delay_s = backoff_s(BACKOFF_S, claim.tries, runtime.settings.max_backoff_s)
            with runtime.unit_of_work() as uow:
                put_off_proof(uow.session, claim, detail=error.message[:MAX_DETAIL], delay_s=delay_s)
        except FAILURES as error:
            with runtime.unit_of_work() as uow:
                finish_proof(uow.session, claim, ProofState.FAILED, detail=error.message[:MAX_DETAIL], **values)
        else:
            with runtime.unit_of_work() as uow:
                finish_proof(uow.session, claim, ProofState.DONE, engines=rows, **values)
            self._warm_if_champion(version)
        return True

    def _warm_if_champion(self, version: ModelVersion) -> None:
        if version.state is ModelState.CHAMPION:
            with reading(self._runtime.engine) as session:
                self._runtime.engines.prepare(served_model(self._runtime, session, version))

    def _prove(self, version: ModelVersion, claim: ProofClaim, inputs: Inputs) -> list[dict[str, object]]:
        runtime = self._runtime
        host = runtime.engine_host(niceness=NICENESS, target=self._target)
        held_at = time.monotonic()

        def on_step() -> None:
            nonlocal held_at
            if self._stop_asked.is_set():
                raise _StoppedError
            if time.monotonic() - held_at > HOLD_EVERY_S:
                with runtime.unit_of_work() as uow:
                    hold_proof(uow.session, claim, self._lease_s())
                held_at = time.monotonic()

        with reading(runtime.engine) as session:
            model = served_model(runtime, session, version)
        try:
            rows = Proof(host, model, runtime.device, on_step).run(inputs)
        finally:
            host.discard()
        return [row.document() for row in rows]

    def _lease_s(self) -> float:
        return self._runtime.settings.engine_load_timeout_s + SPARE_LEASE_S

    def _inputs(self, version: ModelVersion) -> tuple[Inputs, int] | None:
        """The package's golden set, filled up with stored frames, and how many of these; None when it is too small."""
        contract = ModelContract.model_validate(version.contract)
        images = self._images(contract)
        available = sum(min(image.number_of_frames, FRAMES_OF_ONE) for image in images)
        if self._too_few.get(version.digest) == available:
            return None
        shape, golden = contract.input, contract.proof.golden
        frames = np.empty((0, shape.rows, shape.columns, shape.channels), np.float32)
        stated = np.empty((0, len(contract.findings)), np.float32)
        if golden is not None:
            if not self._runtime.store.is_whole(golden.sha256):
                raise InvalidModelPackageError("the stored golden set is gone or damaged; register the package again")
            given = read_golden_set(self._runtime.store.path(golden.sha256), contract)
            frames, stated = given.frames, given.probabilities
        num_missing = max(0, MIN_INPUTS - len(frames))
        drawn = self._draw(contract, images, num_missing) if num_missing <= available else []
        if len(drawn) < num_missing:
            self._too_few[version.digest] = available
            self._say(version, _too_few_text(len(frames), len(drawn)))
            return None
        return Inputs(np.concatenate([frames, *(frame[np.newaxis] for frame in drawn)]), stated), len(drawn)

    def _images(self, contract: ModelContract) -> list[Any]:
        """The stored images that the model accepts, the latest first."""
        with reading(self._runtime.engine) as session:
            return [image for image in latest_images(session, MOST_LOOKED_AT) if refusal_of(contract, image) is None]

    def _draw(self, contract: ModelContract, images: Sequence[Any], count: int) -> list[NDArray[np.float32]]:
        """So many frames of them, or as many as can be read."""
        drawn: list[NDArray[np.float32]] = []
        for image in images:
            if len(drawn) >= count:
                break
            drawn += self._frames_of(image.blob_sha256, contract)
        return drawn[:count]

    def _frames_of(self, blob_sha256: str, contract: ModelContract) -> list[NDArray[np.float32]]:
        frames: list[NDArray[np.float32]] = []
        try:
            for _, frame in self._runtime.decoder.frames(self._runtime.store.path(blob_sha256), contract):
                frames.append(frame)
                if len(frames) == FRAMES_OF_ONE:
                    break
        except (PermanentError, OSError):
            return []  # a job that meets it says what is wrong with it
        return frames

    def _say(self, version: ModelVersion, detail: str) -> None:
        """Have the table tell what the proof waits for."""
        if self._said.get(version.digest) != detail:
            with self._runtime.unit_of_work() as uow:
                let_wait(
                    uow.session,
                    version.digest,
                    self._runtime.hardware,
                    self._runtime.name,
                    detail=detail[:MAX_DETAIL],
                )
            self._said[version.digest] = detail


def _too_few_text(num_given: int, num_drawn: int) -> str:
    return (
        f"{MIN_INPUTS} inputs are needed: the package's golden set has {num_given}, and of the images stored last, "
        f"{num_drawn} frames that the model accepts can be read; store more, or add a golden set; until then the "
        "reference serves"
    )
