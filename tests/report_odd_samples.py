"""Report versions that say what few say: no name, a background class, many stacks, nothing new."""

from datetime import timedelta

from scheduler.aggregation.evidence import Computed, Evidence
from shared.dicom.planes import Plane
from shared.model_contract import ModelContract
from shared.reasons import Reason
from shared.states import ReportOrigin, ReportStatus
from tests.model_samples import contract_fields
from tests.report_samples import (
    NOW,
    VERDICTS,
    Patient,
    Version,
    amended,
    chest_contract,
    image,
    normal,
    positive,
    results,
    reviewed,
    signed,
    study,
    unread,
)
from tests.slice_samples import AXIAL

DIGEST = "5e" * 32
PROVENANCE = {
    "inputs": [
        {"sop_instance_uid": "1.2", "blob_sha256": DIGEST, "generation": 0, "frames": 1, "vectors": DIGEST[:32]}
    ],
    "left_out": {},
    "conflicts": [],
    "model": {"digest": DIGEST, "contract_sha256": DIGEST, "weights_sha256": DIGEST},
    "software": {
        "overread": "0.1.0",
        "environments": [{"python": "3.11.7", "packages": {"keras": "3.15.1"}, "hardware": "x86_64"}, None],
    },
    "job": {
        "id": "01a2278c",
        "label": "night",
        "asked_by": "admin",
        "asked_at": NOW.isoformat(),
        "started_at": NOW.isoformat(),
    },
    "audit_chain": {"sequence": 4711, "digest": DIGEST},
    "inputs_digest": DIGEST,
}


def review_without_signature() -> Version:
    return reviewed(positive(), ReportOrigin.REVIEW, ReportStatus.PRELIMINARY, verdicts=VERDICTS[:1])


def nameless() -> Version:
    return normal(Patient("", "P-1", "", ""))


def unknown() -> Version:
    return normal(Patient("", "", "not a date", "X"))


def nothing_new() -> Version:
    return reviewed(amended(), ReportOrigin.AMENDMENT, ReportStatus.AMENDED, comment="A slip of the pen.")


def retracted_and_signed_again() -> Version:
    back = reviewed(signed(), ReportOrigin.RETRACTION, ReportStatus.RETRACTED, verdicts=[], reason="Wrong patient.")
    return reviewed(back, ReportOrigin.SIGNATURE, ReportStatus.FINAL, verdicts=VERDICTS)


def other_findings() -> Version:
    """Another version of the model has other findings, one of which means nothing found; it is untrained."""
    fields = contract_fields(task="multiclass") | {"time_scope": {"kind": "latest_study"}}
    rules = {"frames": {"kind": "mean"}, "instances": {"kind": "noisy_or"}}
    fields["aggregation"] = rules | {"series": {"kind": "majority"}, "studies": {"kind": "max"}}
    one = image(3, 2, 0.7, 0.2, 0.1)._replace(computed_by=(Computed("keras", "float32", None),), conflict=True)
    evidence = Evidence((study(2, "20261128"),), (one,))
    untrained = {"data_digest": "", "description": "Nothing.", "trained": False}
    contract = ModelContract.model_validate(fields | {"training": untrained})
    return results(evidence, contract, before=positive(), at=NOW + timedelta(days=1))


def read_at_last() -> Version:
    """Nothing could be read, and then a later study could."""
    late = Evidence((study(1, "20261128"), study(2, "20261130")), (image(5, 2, 0.1, 0.2, 0.3),))
    latest = chest_contract(time_scope={"kind": "latest_study"}, intended_use="")
    return results(late, latest, before=unread(), extra={"provenance": PROVENANCE})


def later_study_alone_counts() -> Version:
    latest = chest_contract(time_scope={"kind": "latest_study"})
    early = (image(1, 1, 0.6, 0.1, 0.1), image(2, 2, 0.1, 0.1, 0.1))
    before = results(Evidence((study(1, "20260101"), study(2, "")), early), chest_contract(time_scope={"kind": "all"}))
    late = Evidence((study(1, "20260101"), study(3, "20261101")), (early[0], image(3, 3, 0.2, 0.1, 0.1)))
    return results(late, latest, before=before)


def all_studies_count_now() -> Version:
    early = (image(1, 1, 0.6, 0.1, 0.1), image(2, 2, 0.1, 0.1, 0.1))
    evidence = Evidence((study(1, "20260101"), study(2, "20260601")), early)
    before = results(evidence, chest_contract(time_scope={"kind": "latest_study"}))
    return results(evidence, chest_contract(time_scope={"kind": "all"}), before=before)


def clips() -> Version:
    """Many clips of which every second frame is looked at, in one of them frames far apart and double."""
    chosen = chest_contract(slices={"select": {"kind": "every_nth", "n": 2}})
    places = [*(float(at) for at in range(0, 80, 2)), *(float(at) for at in range(0, 60, 2))]
    planes = tuple(Plane(AXIAL, (0.0, 0.0, at)) for at in places)
    first = image(1, 1, 0.1, 0.1, 0.1)._replace(number_of_frames=len(planes), planes=planes)
    others = [image(number, 1, 0.1, 0.1, 0.1)._replace(number_of_frames=3) for number in range(2, 120)]
    return results(Evidence((study(1, "20261128"),), (first, *others)), chosen)


def central() -> Version:
    chosen = chest_contract(slices={"select": {"kind": "central_share", "share": 0.5}})
    members = tuple(
        image(number, 1, 0.1, 0.2, 0.1)._replace(planes=(Plane(AXIAL, (0.0, 0.0, 2.0 * number)),))
        for number in range(8)
    )
    return results(Evidence((study(1, "20261128"),), members), chosen)


def mostly_left_out() -> Version:
    bad = [image(number, 1, reason=Reason.TRUNCATED) for number in range(20, 120)]
    return results(Evidence((study(1, "20261128"),), (image(1, 1, 0.1, 0.1, 0.1), *bad)))


ODD_SAMPLES = {
    "reviewed": review_without_signature,
    "nameless": nameless,
    "unknown": unknown,
    "nothing-new": nothing_new,
    "signed-again": retracted_and_signed_again,
    "other-findings": other_findings,
    "read-at-last": read_at_last,
    "later-study": later_study_alone_counts,
    "all-studies": all_studies_count_now,
    "clips": clips,
    "central": central,
    "mostly-left-out": mostly_left_out,
}
