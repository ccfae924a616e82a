"""`demo`: the whole way once, from made patients to their reports, on a system that ends with it."""

import csv
import time
from collections import defaultdict
from hashlib import file_digest
from pathlib import Path
from typing import Any

import click
import pydicom
from rich.progress import Progress

from api.cli.client import Client, Json
from api.cli.collect import LocalFile, collect_files
from api.cli.demo_model import CONTRACT_FILE, fit_model, write_any_image_package
from api.cli.demo_reports import INDEX, fetch_items, fetch_reports, write_reports
from api.cli.demo_tables import Assessed, files_table, measure, measures_text, patients_table
from api.cli.embedded import embedded_system
from api.cli.errors import EXIT_INTERRUPTED, StartError
from api.cli.folders import TOKEN_FILE, kept_token
from api.cli.jobs import model_name
from api.cli.output import make_console, plain
from api.cli.phantoms import MIN_PATIENTS, Truth, write_cohort
from api.cli.registry import add_model
from api.cli.session import DEFAULT_URL, Session, data_dir_option, json_option
from api.cli.submit import create_job
from api.cli.up import endable
from api.cli.upload import create_upload, send_files
from api.cli.watch import watch_job
from shared.states import JobState

DEMO_DATA_DIR = Path("overread-demo")
ANY_FREE_PORT = 0
TEST = "test"
LABELS_FILE = "labels.csv"


@click.command()
@data_dir_option(DEMO_DATA_DIR, envvar=None)
@click.option("--patients", type=click.IntRange(min=MIN_PATIENTS), default=60, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Another one: other patients.")
@json_option
def demo(data_dir: Path, patients: int, seed: int, as_json: bool) -> None:
    """Show the whole way: make patients, fit a model, submit them, read their reports.

    Then the real files inside pydicom's wheel, and what becomes of each.
    """
    began_s = time.monotonic()
    remarks = make_console(to_stderr=True)
    remarks.print("Starting the system ...")
    home = data_dir.resolve()
    try:
        with (
            endable(),
            embedded_system(home, None, ANY_FREE_PORT, lambda event: remarks.print(plain(event))) as system,
            Client(system.url, kept_token(home)) as client,
        ):
            session = Session(client, as_json, make_console(), remarks)
            answer = Demo(session, home, patients, seed).run()
    except KeyboardInterrupt:
        click.get_current_context().exit(EXIT_INTERRUPTED)
    answer["seconds"] = round(time.monotonic() - began_s, 1)
    session.show(answer, lambda: _say_what_is_next(session, data_dir, answer))


def _say_what_is_next(session: Session, data_dir: Path, answer: Json) -> None:
    lines = (
        f"\nDone in {answer['seconds']:g} s. The reports lie in {answer['reports']} (open {INDEX} there).",
        f"To look around: overread up --data-dir {data_dir}, then {DEFAULT_URL} in a browser",
        f"(log in with the token in {data_dir / TOKEN_FILE})",
        f"and, in another terminal: overread reports --data-dir {data_dir}",
    )
    for line in lines:
        session.out.print(plain(line), soft_wrap=True)


class Demo:
    """The steps of the demo on a running system."""

    def __init__(self, session: Session, data_dir: Path, patients: int, seed: int) -> None:
        self._session = session
        self._client = session.client
        self._data_dir = data_dir
        self._patients = patients
        self._seed = seed
        self._reports_dir = data_dir / "reports"
        # What another number of patients or another seed left stays beside it.
        self._home = data_dir / "demo" / f"{patients}-{seed}"

    def run(self) -> Json:
        """All of it; returns what `--json` prints."""
        truths = self._cohort_truths()
        fitted, any_image = self._add_models()
        films, reports = self._report_on_films(truths, fitted)
        real, real_reports = self._try_real_files(any_image)
        write_reports(self._client, [*reports, *real_reports], self._reports_dir)
        return films | real | {"reports": str(self._reports_dir)}

    def _cohort_truths(self) -> list[Truth]:
        """Write the cohort, or read the truth about the one of an earlier run, which its model was fitted to."""
        labels = self._home / "cohort" / LABELS_FILE
        if labels.exists():
            return read_truths(labels)
        self._remark(f"Making {self._patients} patients ...")
        return write_cohort(labels.parent, patients=self._patients, seed=self._seed)

    def _add_models(self) -> tuple[str, str]:
        fitted, any_image = self._home / "package", self._home / "any-image-package"
        if not (fitted / CONTRACT_FILE).exists():
            self._fit(fitted)
        write_any_image_package(fitted, any_image)
        first, second = (model_name(add_model(self._client, package)) for package in (fitted, any_image))
        return first, second

    def _fit(self, package: Path) -> None:
        with Progress(console=self._session.err, disable=self._session.as_json) as progress:
            bar = progress.add_task("fitting the model", total=None)
            fit_model(
                self._home / "cohort",
                package,
                self._seed,
                self._data_dir / "logs",
                lambda epoch, epochs: progress.update(bar, completed=epoch, total=epochs),
            )
            # Fitting stops early when nothing improves any more.
            progress.update(bar, completed=1, total=1)

    def _report_on_films(self, truths: list[Truth], model: str) -> tuple[Json, list[Json]]:
        tested = [truth for truth in truths if truth.split == TEST]
        cohort = self._home / "cohort"
        job = self._predict(collect_files(cohort / truth.path for truth in tested), model, "demo: made patients")
        if job["state"] != JobState.DONE:
            raise StartError(f"the job of the made patients ended as {job['state']}; see overread job {job['id']}")
        reports = fetch_reports(self._client, job["id"], fetch_items(self._client, job["id"]))
        labels = {truth.patient_id: bool(truth.patient_label) for truth in tested}
        reports.sort(key=lambda report: report["patient"]["patient_id"])
        assessed = [Assessed(report, labels[report["patient"]["patient_id"]]) for report in reports]
        measures = measure(assessed)
        self._print(patients_table(assessed, self._reports_dir))
        self._print(measures_text(measures))
        return {"job": job, "measures": measures, "patients": [one.as_json() for one in assessed]}, reports

    def _try_real_files(self, model: str) -> tuple[Json, list[Json]]:
        files = real_files()
        job = self._predict(files, model, "demo: real files")
        items = fetch_items(self._client, job["id"])
        rows = name_items(items, files)
        self._print(files_table(rows))
        shown = [{"file": name} | item for name, item in rows]
        return {"real_job": job, "files": shown}, fetch_reports(self._client, job["id"], items)

    def _predict(self, files: list[LocalFile], model: str, label: str) -> Json:
        upload_id = create_upload(self._client, label)
        send_files(self._session, upload_id, files)
        job = create_job(self._client, {"uploads": [upload_id], "model": model, "label": label})
        return watch_job(self._session, job["id"])

    def _remark(self, text: str) -> None:
        self._session.err.print(text)

    def _print(self, what: Any) -> None:
        if not self._session.as_json:
            self._session.out.print("")
            self._session.out.print(what)


def read_truths(labels: Path) -> list[Truth]:
    """The rows of a cohort's labels, which are written last, when everything else is there."""
    numbers = ("label", "study_label", "patient_label")
    with labels.open(newline="") as handle:
        rows: list[dict[str, Any]] = list(csv.DictReader(handle))
    return [Truth(**row | {name: int(row[name]) for name in numbers}) for row in rows]


def real_files() -> list[LocalFile]:
    """The DICOM files that lie inside pydicom's wheel."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    return collect_files(sorted(folder.glob("*.dcm")))


def name_items(items: list[Json], files: list[LocalFile]) -> list[tuple[str, Json]]:
    """Each item with the names of the files that have its bytes, in the order of the names."""
    names: dict[str, list[str]] = defaultdict(list)
    for file in files:
        with file.path.open("rb") as handle:
            names[file_digest(handle, "sha256").hexdigest()].append(file.path.name)
    rows = [(", ".join(names.get(item["sha256"], [item["name"]])), item) for item in items]
    return sorted(rows, key=lambda row: row[0])
