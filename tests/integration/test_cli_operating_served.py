"""Commands of whoever operates the system against the real API: what they change is changed."""

from shared.unit_of_work import UnitOfWork
from tests.command_line import answer_of, command_line
from tests.conftest import Api
from tests.factories import MODEL, add_model, submit_job

SCHEDULES = "/api/v1/schedules"


def test_schedule_is_changed_where_it_was_said_and_stays_otherwise(api: Api) -> None:
    with UnitOfWork(api.prepared.engine) as uow:
        add_model(uow.session)
    with command_line(api) as run:
        made = answer_of(
            run("schedules", "add", "nightly", "--cron", "30 2 * * *", "--label", "night", "--min-new", "5")
        )
        changed = answer_of(run("schedules", "change", "nightly", "--cron", "0 3 * * *", "--model", MODEL))
        training = answer_of(run("schedules", "add-training", "learn", "--cron", "0 4 * * *"))
        relabelled = answer_of(run("schedules", "change", "learn", "--label", "learnt", "--overlap", "queue"))
        refused = run("schedules", "change", "learn", "--explain", "all")
        nothing = run("schedules", "change", "learn")
        fires = answer_of(run("schedules", "preview", "--cron", "30 2 29 10 *", "--time-zone", "Europe/Berlin"))

    job = made["job"] | {"model": MODEL}
    assert changed == made | {"cron": "0 3 * * *", "job": job, "next_fires": changed["next_fires"]}
    assert changed["next_fires"] != made["next_fires"]
    assert (relabelled["overlap"], relabelled["job"]) == ("queue", training["job"] | {"label": "learnt"})
    assert (refused.exit_code, nothing.exit_code) == (1, 2)
    assert len(fires["fires"]) == 10


def test_many_jobs_are_cancelled_after_a_look(api: Api) -> None:
    jobs = [submit_job(api.prepared.engine, 2, label=label) for label in ("night", "night", "day")]
    with command_line(api) as run:
        looked = answer_of(run("cancel", "--all", "--label", "night", "--dry-run"))
        unsure = run("cancel", "--all", "--find", "NIG")
        done = answer_of(run("cancel", "--all", "--find", "NIG", "--yes"))
        found = answer_of(run("jobs", "--find", "day"))
        one = answer_of(run("cancel", jobs[2]))
        unclear = run("cancel", jobs[2], "--label", "day")

    assert (looked["jobs"], looked["items"], looked["cancelled"]) == (2, 4, [])
    assert unsure.exit_code == 1, "nobody said yes"
    assert set(done["cancelled"]) == {str(job) for job in jobs[:2]}
    assert [job["id"] for job in found["items"]] == [str(jobs[2])]
    assert one["state"] == "cancelled"
    assert unclear.exit_code == 2


def test_password_is_asked_for_and_lets_its_principal_in(api: Api) -> None:
    secret = "correct horse battery"
    with command_line(api) as run:
        answer_of(run("token", "create", "--principal", "Ann", "--scope", "read", "--role", "submitter"))
        unknown = run("password", "Nobody", says=f"{secret}\n{secret}\n")
        told = run("password", "Ann", says=f"{secret}\n{secret}\n")

    assert unknown.exit_code == 1
    assert told.exit_code == 0, told.output
    assert secret not in told.output
    login = api.app.test_client().post("/api/v1/sessions", json={"name": "Ann", "password": secret})
    assert login.status_code == 201
