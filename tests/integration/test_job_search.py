"""What a person types finds jobs: by label, id, model and who submitted; the newest first, beside every filter."""

from typing import Any

import pytest

from shared.models import Job
from shared.repositories import bounded, job_search
from shared.states import Lane
from shared.unit_of_work import UnitOfWork
from tests.conftest import Api
from tests.factories import MODEL, add_model, add_principal, submit_job

JOBS = "/api/v1/jobs"


@pytest.fixture
def jobs(any_api: Api) -> dict[str, Any]:
    """By name, in the order they were made: of two people, three models, labels in three scripts."""
    engine = any_api.prepared.engine
    with UnitOfWork(engine) as uow:
        ann = add_principal(uow.session, "Ann Smith")
        models = [add_model(uow.session, name) for name in (MODEL, MODEL, "chest_100")]
        newest = models[-1].id
    made = {
        "night": submit_job(engine, 1, label="Night 12"),
        "other": submit_job(engine, 1, label="night 2", principal_id=ann),
        "street": submit_job(engine, 1, label="STRAßE"),
        "percent": submit_job(engine, 1, label="100 %", lane=Lane.URGENT),
        "zh": submit_job(engine, 1, label="夜间"),
    }
    with UnitOfWork(engine) as uow:
        uow.session.get_one(Job, made["zh"]).model_version_id = newest
    return made


def found(api: Api, jobs: dict[str, Any], typed: str, **more: Any) -> list[str]:
    answer = api.get(JOBS, query_string={"q": typed} | more)
    assert answer.status_code == 200, answer.text
    names = {str(job_id): name for name, job_id in jobs.items()}
    return [names[job["id"]] for job in answer.json["items"]]


def test_jobs_are_found_by_what_their_names_begin_with(any_api: Api, jobs: dict[str, Any]) -> None:
    everything = ["zh", "percent", "street", "other", "night"]

    assert found(any_api, jobs, "NIGHT") == ["other", "night"]
    assert found(any_api, jobs, " night 1 ") == ["night"]
    assert found(any_api, jobs, "straSSe") == ["street"]
    assert found(any_api, jobs, "夜") == ["zh"]
    assert found(any_api, jobs, "ann s") == ["other"]
    assert found(any_api, jobs, "Chest") == ["zh"]
    assert found(any_api, jobs, MODEL[:3].upper()) == everything[1:]
    assert found(any_api, jobs, "100") == ["percent"], "a model's name has it in the middle"
    assert found(any_api, jobs, "1%") == found(any_api, jobs, "ight") == found(any_api, jobs, "chest%1") == []
    assert found(any_api, jobs, "") == everything


def test_jobs_are_found_by_the_beginning_of_their_id(any_api: Api, jobs: dict[str, Any]) -> None:
    whole = str(jobs["street"])

    assert found(any_api, jobs, whole) == found(any_api, jobs, whole.replace("-", "").upper()) == ["street"]
    assert "street" in found(any_api, jobs, whole[:9])
    assert found(any_api, jobs, whole[:7]) == []
    assert found(any_api, jobs, "ffffffff") == []


@pytest.mark.parametrize("most_sorted", [job_search.MOST_SORTED, 0])
def test_what_is_typed_goes_with_filters_and_pages(
    any_api: Api, jobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch, most_sorted: int
) -> None:
    monkeypatch.setattr(job_search, "MOST_SORTED", most_sorted)

    first = any_api.get(f"{JOBS}?q=night&limit=1").json

    assert [first["items"][0]["id"]] == [str(jobs["other"])]
    assert found(any_api, jobs, "night", limit=1, cursor=first["next"]) == ["night"]
    assert found(any_api, jobs, "night", mine="true") == ["night"]
    assert found(any_api, jobs, MODEL[:3], priority="urgent") == ["percent"]
    assert found(any_api, jobs, "night", state="done") == []
    assert any_api.get(f"{JOBS}?label=night 2").json["items"][0]["id"] == str(jobs["other"])
    assert any_api.get(f"{JOBS}?label=Night 2").json["items"] == [], "a label is as it was given"


def test_what_is_typed_goes_with_acts_on_many(any_api: Api, jobs: dict[str, Any]) -> None:
    looked = any_api.post(f"{JOBS}/cancel?q=ann&dry_run=true").json
    done = any_api.post(f"{JOBS}/cancel?q=NIGHT").json
    again = any_api.post(f"{JOBS}/retry?q=night 12&dry_run=true").json

    assert (looked["jobs"], looked["is_least"]) == (1, False)
    assert set(done["cancelled"]) == {str(jobs["night"]), str(jobs["other"])}
    assert (again["jobs"], again["items"], again["is_least"]) == (1, 1, False)
    assert any_api.post(f"{JOBS}/cancel?q=ffffffff").json["jobs"] == 0


def test_counts_end_where_nobody_reads_on(any_api: Api, jobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.repositories.cancels.MOST_COUNTED", 3)
    monkeypatch.setattr("api.intake.retry.MOST_LOOKED_AT", 3)
    monkeypatch.setattr("api.routes.jobs.MOST_COUNTED", 3)

    queued = any_api.post(f"{JOBS}/cancel?dry_run=true").json
    counts = any_api.get(f"{JOBS}/counts").json
    page = any_api.app.test_client()
    page.post("/login", data={"token": any_api.prepared.token})
    told = page.get("/jobs/cancel?state=queued").text
    for job_id in jobs.values():
        any_api.post(f"{JOBS}/{job_id}/cancel")
    over = any_api.post(f"{JOBS}/retry?dry_run=true").json

    assert (queued["jobs"], queued["is_least"]) == (3, True)
    assert (counts["mine"], counts["mine_is_least"]) == (3, True)
    assert "more than 3 jobs would be cancelled" in told
    assert (over["jobs"], over["is_least"]) == (3, True)
    assert bounded.MOST_COUNTED == 10_000
