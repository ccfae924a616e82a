"""A cohort through the command line: real films of 60 patients and made patients with several studies."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cohorts import chest_films, film
from tests.model_samples import accept_everything_package
from tests.system import OVERREAD, System, running_system

FILM_PATIENTS = 60
# Made patients and how many studies each has, of two instances.
STUDIES = {"TWO": 2, "THREE": 3}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Running, with a model that takes any image, added as a user adds it."""
    package = accept_everything_package(tmp_path_factory.mktemp("model") / "package")
    with running_system() as running:
        added = overread(running, "models", "add", str(package))
        assert added.returncode == 0, added.stderr
        yield running


def overread(system: System, *arguments: str) -> subprocess.CompletedProcess[str]:
    url = f"http://127.0.0.1:{system.port}"
    command = [str(OVERREAD), *arguments, "--url", url, "--data-dir", str(system.data_dir), "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_cohort_ends_in_one_report_per_patient(system: System, tmp_path: Path) -> None:
    films = chest_films(tmp_path, FILM_PATIENTS)
    for patient, studies in STUDIES.items():
        for study in range(1, studies + 1):
            for instance in range(2):
                path = tmp_path / "made" / f"{patient}-{study}-{instance}.dcm"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(film(patient, study, instance))
    files = [*films.rglob("*.dcm"), *(tmp_path / "made").iterdir()]

    done = overread(system, "submit", *map(str, [films, tmp_path / "made"]), "--label", "cohort", "--watch")

    # The folder of films holds labels.csv too, which is no DICOM: said on its own row, and the job is partial.
    assert done.returncode == 4, done.stderr
    (job,) = system.pages("/api/v1/jobs", label="cohort")
    items = system.pages(f"/api/v1/jobs/{job['id']}/items")
    assert job["counts"] == job["counts"] | {"total": len(files) + 1, "done": len(files), "failed": 1, "pending": 0}
    assert Counter(item["state"] for item in items) == {"done": len(files), "failed": 1}
    reports = system.reports(job["id"], FILM_PATIENTS + len(STUDIES))
    by_patient = {report["patient"]["patient_id"]: report for report in reports}
    assert len(by_patient) == len(reports) == FILM_PATIENTS + len(STUDIES)
    for patient, studies in STUDIES.items():
        document = system.http.get(f"/api/v1/reports/{by_patient[patient]['id']}").json()["document"]
        assert len(document["studies"]) == studies
    shown = json.loads(overread(system, "reports", "--job", job["id"]).stdout)
    assert len(shown["items"]) == len(reports)


def test_same_cohort_again_is_sent_by_name_only_and_reused(system: System, tmp_path: Path) -> None:
    path = tmp_path / "again.dcm"
    path.write_bytes(film("AGAIN", 1, 1))
    first = overread(system, "submit", str(path), "--watch")
    assert first.returncode == 0, first.stderr

    again = overread(system, "submit", str(path), "--watch", "--label", "again")

    assert again.returncode == 0, again.stderr
    (job,) = system.pages("/api/v1/jobs", label="again")
    assert (job["counts"]["total"], job["counts"]["reused"]) == (1, 1)
