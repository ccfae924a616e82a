"""A cohort of made rows whose reports are all due: chest films, two studies a patient, two films a study, no pixels."""

from sqlalchemy import Engine, select, text

from bench.copied_rows import columns_of, copy_row, job_id, vacuum, without_foreign_keys
from shared.models import Instance
from shared.unit_of_work import UnitOfWork
from tests.factories import add_model, add_prediction, submit_job

STUDIES, FILMS = 2, 2
PATIENTS_A_JOB = 5000
# A model made for films of the chest: one finding, calibrated as training leaves it, the latest study speaks.
FINDING = {
    "code": "pneumonia",
    "display": "Pneumonia",
    "threshold": 0.5,
    "calibration": {"kind": "platt", "slope": 1.2, "intercept": -0.4},
}
CONTRACT = {
    "findings": [FINDING],
    "aggregation": {level: {"kind": "mean"} for level in ("frames", "instances", "series", "studies")},
    "time_scope": {"kind": "latest_study"},
}
# Copies are numbered from here on; what the product's own code made stays below, and is no part of the cohort.
BASE = 1000


def fill(engine: Engine, patients: int) -> None:
    """Everything that there is about the patients when the last of their films was predicted on."""
    _make_one(engine)
    with engine.begin() as connection:
        without_foreign_keys(connection)
        connection.execute(text("SELECT setseed(0.5)"))
        columns = columns_of(connection)
        for table, rows, changed in _tables(patients):
            copy_row(connection, columns[table], table, rows, changed)
        connection.execute(text("DELETE FROM job_patient WHERE patient_id <= :base"), {"base": BASE})
        connection.execute(text("CREATE TABLE due AS SELECT * FROM job_patient"))
    vacuum(engine)


def make_due_again(engine: Engine) -> None:
    """As if no report had been made yet."""
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE report, job_patient, audit_event CASCADE"))
        connection.execute(text("INSERT INTO job_patient SELECT * FROM due"))
        # Not what was emptied: plans made for an empty table stay, and the first minute would be about them.
        connection.execute(text("ANALYZE job_patient"))


def _make_one(engine: Engine) -> None:
    """A patient with one film, predicted on, for the others to be copies of."""
    with UnitOfWork(engine) as uow:
        version = add_model(uow.session, **CONTRACT)
    submit_job(engine, 1)
    with UnitOfWork(engine) as uow:
        add_prediction(uow.session, uow.session.scalars(select(Instance)).one(), version)


def _tables(patients: int) -> list[tuple[str, int, dict[str, str]]]:
    """Of each table, how many rows, and what is their own."""
    studies, films = patients * STUDIES, patients * STUDIES * FILMS
    own = f"n + {BASE}"
    digest = "encode(sha256(n::text::bytea), 'hex')"
    of_patient, of_study = f"(n - 1) / {STUDIES} + {BASE + 1}", f"(n - 1) / {FILMS} + {BASE + 1}"
    patient = {"id": own, "key": "md5(n::text)", "patient_id": "'C' || n", "patient_name": "'Made^' || n"}
    patient |= {"patient_birth_date": "'19500101'", "patient_sex": "CASE WHEN n % 2 = 0 THEN 'F' ELSE 'M' END"}
    # The first of a patient's studies is some months older than the second.
    day = f"to_char(date '2026-01-01' + (n % 300)::int - 200 * ((n - 1) % {STUDIES} = 0)::int, 'YYYYMMDD')"
    study = {"id": own, "patient_id": of_patient, "study_instance_uid": "'2.25.1' || n", "study_date": day}
    series = {"id": own, "study_id": own, "series_instance_uid": "'2.25.2' || n", "modality": "'CR'"}
    instance = {"id": own, "series_id": of_study, "blob_sha256": digest, "sop_instance_uid": "'2.25.3' || n"}
    instance |= {"instance_number": f"(n - 1) % {FILMS} + 1"}
    item = {"id": own, "job_id": job_id(_job("n", PATIENTS_A_JOB * STUDIES * FILMS)), "target": "'instance:' || n"}
    item |= {"instance_id": own, "patient_id": f"(n - 1) / {STUDIES * FILMS} + {BASE + 1}", "state": "'done'"}
    # Most films show nothing.
    prediction = {"id": own, "blob_sha256": digest}
    prediction |= {"probabilities": "jsonb_build_array(round(power(random(), 3)::numeric, 6))"}
    of_job = {"job_id": job_id(_job("n", PATIENTS_A_JOB)), "patient_id": own, "items_open": "0"}
    return [
        ("patient", patients, patient),
        ("study", studies, study),
        ("series", studies, series),
        ("blob", films, {"sha256": digest}),
        ("instance", films, instance),
        ("job", -(-patients // PATIENTS_A_JOB), {"id": job_id("n"), "state": "'done'"}),
        ("item", films, item),
        ("prediction", films, prediction),
        ("job_patient", patients, of_job),
    ]


def _job(number: str, of_one: int) -> str:
    return f"({number} - 1) / {of_one} + 1"
