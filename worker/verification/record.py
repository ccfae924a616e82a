"""The record of a report, check by check: document, audit event, audit chain, predictions, bytes, model."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import select

from shared.audit_chain import START, Seal
from shared.db import reading
from shared.models import AuditEvent, ModelVersion, Report
from shared.reports.digest import content_digest
from shared.reports.provenance import Frames, digest_of_document, vectors_digest
from shared.repositories.audit_chain import follow_chain, seal_of
from shared.repositories.predictions import frames_of
from worker.runtime import Runtime
from worker.verification.checks import Check, judged, unrecorded
from worker.verification.package import package_faults
from worker.verification.people import frozen_faults, review_faults
from worker.verification.stored import fault_of

LINKS_AT_ONCE = 2000


class Record:
    """A report version as its rows have it, and what is to be said of it; `on_step` is called all along."""

    def __init__(self, runtime: Runtime, report: Report, version: ModelVersion, on_step: Callable[[], None]) -> None:
        self._runtime = runtime
        self._report, self._version = report, version
        self._document: dict[str, Any] = report.document
        self._made: dict[str, Any] | None = report.document.get("provenance")
        self._on_step = on_step

    def checks(self) -> Iterator[Check]:
        """All of them, the cheap ones first."""
        for name, check in (
            ("document", self._document_check),
            ("audit_event", self._event_check),
            ("audit_chain", self._chain_check),
            ("review", self._review_check),
            ("documents", self._documents_check),
            ("predictions", self._predictions_check),
            ("inputs", self._bytes_check),
            ("model", self._model_check),
        ):
            self._on_step()
            try:
                yield check(name)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                # Of the words that are asked for, something is missing: whoever altered the document took it away.
                yield judged(name, 0, [f"the report's document cannot be read ({type(error).__name__})"])

    def _document_check(self, name: str) -> Check:
        """The document against its digest, and the columns of its row against what it says of itself."""
        report, digest = self._report, content_digest(self._document)
        differing = []
        if digest != report.content_digest:
            differing.append(f"the document's sha256 is {digest}, the row says {report.content_digest}")
        said = self._document.get("version", {})
        row = {"id": str(report.id), "number": report.number, "status": report.status, "origin": report.origin}
        row["signs"] = str(report.signs) if report.signs else None
        differing += [
            f"the document has {field} {said[field]}, the row {value}"
            for field, value in row.items()
            if field in said and said[field] != value
        ]
        return judged(name, 1, differing)

    def _event_check(self, name: str) -> Check:
        """The one audit event of the making, which the chain covers, names the document's digest and who made it."""
        digest, by = content_digest(self._document), self._report.principal_id
        of_report = (AuditEvent.object_kind == "report", AuditEvent.object_id == str(self._report.id))
        columns = (AuditEvent.id, AuditEvent.principal_id, AuditEvent.detail)
        with reading(self._runtime.engine) as session:
            events = session.execute(select(*columns).where(*of_report).order_by(AuditEvent.id)).all()
        named = [event for event in events if "content_digest" in event.detail]
        if not named and self._made is None:
            return unrecorded(name)
        differing = [] if named else [f"no event names the document's digest {digest}"]
        # A false event is sealed like any other, so a second one is no better than one that says otherwise.
        differing += [f"event {event.id} names a making of the report that was made before" for event in named[1:]]
        for event in named:
            told = event.detail["content_digest"]
            if told != digest:
                differing.append(f"event {event.id} names the digest {told}, the document has {digest}")
            if event.principal_id != by:
                differing.append(f"event {event.id} is of principal {event.principal_id}, the report of {by}")
        return judged(name, len(named), differing)

    def _review_check(self, name: str) -> Check:
        """What quality and training read of the review against what the document says."""
        with reading(self._runtime.engine) as session:
            return judged(name, *review_faults(session, self._report))

    def _documents_check(self, name: str) -> Check:
        """The documents that the signature froze: their rows as the event names them, and their bytes."""
        with reading(self._runtime.engine) as session:
            frozen, differing = frozen_faults(session, self._report)
        for blob in frozen:
            self._on_step()
            if fault := fault_of(self._runtime.store, blob):
                differing.append(fault.told)
        return judged(name, len(frozen), differing)

    def _chain_check(self, name: str) -> Check:
        """The whole chain of audit events, and that it still goes through the seal that the report names."""
        differing: list[str] = []
        last, has_more = START, True
        while has_more:
            self._on_step()
            with reading(self._runtime.engine) as session:
                found = follow_chain(session, last, LINKS_AT_ONCE)
            last, has_more = found.last, found.has_more
            if found.broken is not None:
                event = "" if found.broken.event_id is None else f" (event {found.broken.event_id})"
                differing.append(f"seal {found.broken.sequence}{event}: {found.broken.why}")
        if self._made is not None:
            kept = Seal(**self._made["audit_chain"])
            with reading(self._runtime.engine) as session:
                if seal_of(session, kept.sequence) != kept:
                    differing.append(f"the chain does not go through {kept}, which the report names")
        return judged(name, last.sequence, differing)

    def _predictions_check(self, name: str) -> Check:
        """The stored predictions of the generations that the report names, each blob's, and all inputs together."""
        if self._made is None:
            return unrecorded(name)
        stored = self._stored(self._made["inputs"])
        differing = []
        for one in self._made["inputs"]:
            frames = stored.get(one["blob_sha256"], ())
            if len(frames) != one["frames"] or vectors_digest(frames) != one["vectors"]:
                where = f"blob {one['blob_sha256']}, generation {one['generation']}"
                differing.append(f"{where}: the stored probabilities are not those that the report was made of")
        digest, said = digest_of_document(self._document, stored), self._report.inputs_digest
        if digest != said:
            differing.append(f"all inputs together have the sha256 {digest}, the report says {said}")
        return judged(name, len(self._made["inputs"]), differing)

    def _stored(self, inputs: list[dict[str, Any]]) -> dict[str, Frames]:
        generations: dict[int, list[str]] = defaultdict(list)
        for one in inputs:
            generations[one["generation"]].append(one["blob_sha256"])
        found: dict[str, Frames] = {}
        for generation, blobs in generations.items():
            self._on_step()
            with reading(self._runtime.engine) as session:
                rows = frames_of(session, self._version.digest, generation, blobs)
            found |= {blob: [(one.frame, one.probabilities) for one in frames] for blob, frames in rows.items()}
        return found

    def _bytes_check(self, name: str) -> Check:
        """Every blob that the report was made of, or left out, is what its name says."""
        if self._made is None:
            return unrecorded(name)
        blobs = [one["blob_sha256"] for one in self._made["inputs"]]
        blobs += [blob for left_out in self._made["left_out"].values() for blob in left_out]
        differing = []
        for blob in blobs:
            self._on_step()
            if fault := fault_of(self._runtime.store, blob):
                differing.append(fault.told)
        return judged(name, len(blobs), differing)

    def _model_check(self, name: str) -> Check:
        return judged(name, 1, list(package_faults(self._runtime.store, self._version, self._document)))
