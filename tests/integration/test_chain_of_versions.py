"""One patient's report from two studies to its retraction: each version says what changed, and none ever changes."""

from pathlib import Path
from typing import Any

from shared.db import reading
from shared.models import Report
from shared.reports.digest import content_digest
from tests.cohorts import film, zipped
from tests.conftest import Api
from tests.model_samples import accept_everything_package, zip_package
from tests.reporting import report_on_all
from tests.reviews import REPORTS, physician, read, say, sign
from tests.trainings import LABELS, MODELS, WINDOW, ZIP
from worker.runtime import Runtime
from worker.tasks import infer_next

BRIGHT, DARK = 160, 90


def register(api: Api, folder: Path, slope: float) -> None:
    package = accept_everything_package(folder / str(slope), slope=slope, preprocess=WINDOW)
    answer = api.post(MODELS, data=zip_package(package, folder / f"{slope}.zip").read_bytes(), **ZIP)
    assert answer.status_code == 201, answer.text


def results(api: Api, runtime: Runtime, *studies: tuple[int, int]) -> dict[str, Any]:
    """The newest report once a job on films of these studies, each of a level, is over."""
    files = [(f"{number}.dcm", film("P1", number, 1, level=level, side=32)) for number, level in studies]
    job = api.post("/api/v1/jobs", data=zipped(files), **ZIP).json
    for _ in range(4):
        infer_next(runtime)
    report_on_all(api.prepared.engine)
    (report,) = api.get(f"{REPORTS}?job={job['id']}").json["items"]
    found: dict[str, Any] = report
    return found


def test_chain_from_two_studies_to_a_retraction(any_api: Api, runtime: Runtime, tmp_path: Path) -> None:
    api, me = any_api, physician(any_api)
    kept: dict[str, tuple[str, Any]] = {}

    def keep(report: dict[str, Any]) -> dict[str, Any]:
        shown = api.get(f"{REPORTS}/{report['id']}").json
        kept[report["id"]] = shown["content_digest"], shown["document"]
        found: dict[str, Any] = shown["document"]["changes"]
        return found

    register(api, tmp_path, 4.0)
    first = results(api, runtime, (1, DARK), (2, DARK))
    assert keep(first) == {"since": None}

    late = results(api, runtime, (3, BRIGHT))
    told = keep(late)
    assert set(told) == {"since", "findings", "studies", "images"}
    (lesion,) = told["findings"]
    assert (lesion["before"]["decision"], lesion["after"]["decision"]) == (False, True)
    assert len(told["studies"]["added"]) == 1
    assert told["images"]["after"] == {"predicted": 3, "instances": 3}

    register(api, tmp_path, -4.0)
    api.post(f"{MODELS}/sample-binary/versions/2/promote", json={"reason": "to see"})
    rerun = results(api, runtime, (1, DARK), (2, DARK), (3, BRIGHT))
    told = keep(rerun)
    assert told["model_version"] == {"before": 1, "after": 2}
    assert "findings" in told

    reviewed = say(api, me, rerun["id"], comment="will look at the priors").json
    assert keep(reviewed) == {"since": {"id": rerun["id"], "number": 3}}
    final = sign(api, me, reviewed["id"])
    assert set(keep(final)) == {"since", "status", "verdicts"}
    labelled = {one["study_instance_uid"]: one["value"] for one in api.get(LABELS).json["items"]}
    assert list(labelled.values()) == [True]

    amended = say(api, me, final["id"], "amend", verdicts={"lesion": "disagree"}, reason="an artefact").json
    told = keep(amended)
    assert told["status"] == {"before": "final", "after": "amended"}
    assert told["verdicts"] == [{"code": "lesion", "before": "agree", "after": "disagree"}]
    assert [one["value"] for one in api.get(LABELS).json["items"]] == [False] * 3

    gone = say(api, me, amended["id"], "retract", reason="another patient's films").json
    assert keep(gone)["status"] == {"before": "amended", "after": "retracted"}
    assert api.get(LABELS).json["items"] == []

    versions = api.get(f"{REPORTS}/{first['id']}/versions").json["items"]
    assert [(one["number"], one["status"], one["origin"], one["by"], one["model"]["version"]) for one in versions] == [
        (1, "preliminary", "results", None, 1),
        (2, "preliminary", "results", None, 1),
        (3, "preliminary", "results", None, 2),
        (4, "preliminary", "review", "dr.a", 2),
        (5, "final", "signature", "dr.a", 2),
        (6, "amended", "amendment", "dr.a", 2),
        (7, "retracted", "retraction", "dr.a", 2),
    ]
    assert [one["signs"] for one in versions] == [None] * 4 + [reviewed["id"], final["id"], None]
    assert [one["supersedes"] for one in versions] == [None, *(one["id"] for one in versions[:-1])]
    for one in versions:
        shown = api.get(f"{REPORTS}/{one['id']}").json
        assert (shown["content_digest"], shown["document"]) == kept[one["id"]]
    with reading(api.prepared.engine) as session:
        for row in session.query(Report):
            assert row.content_digest == content_digest(row.document) == kept[str(row.id)][0]

    # The same inputs again make no new version; a fourth study does, preliminary, and what was said is not in it.
    assert results(api, runtime, (3, BRIGHT))["id"] == gone["id"]
    fresh = results(api, runtime, (4, DARK))
    assert (fresh["number"], fresh["status"]) == (8, "preliminary")
    assert "review" not in api.get(f"{REPORTS}/{fresh['id']}").json["document"]
    assert (
        api.post(f"{REPORTS}/{gone['id']}/retract", json={"reason": "x"}, headers=me | read(api, gone["id"])).json[
            "newer"
        ]["number"]
        == 8
    )
