"""Reports: patients aggregated a second beside the same SQL alone and the function alone; documents of 500 patients.

`python -m bench.reports` takes about a quarter of an hour; `--quick` two minutes, with fewer patients. The database is
PostgreSQL, fsync on; the patients have two studies of two films each, and the latest study speaks.
"""

import argparse
from pathlib import Path
from statistics import mean, median

from sqlalchemy import Engine, func, select, text

from bench.harness import report
from bench.reports_cohort import CONTRACT, FILMS, STUDIES, fill, make_due_again
from bench.reports_documents import seconds_of_each
from bench.reports_schedulers import MakeStep, Run, function_alone, product, side_by_side, sql_alone
from bench.servers import postgresql, scratch_folder
from shared.config import load_settings
from shared.db import make_engine, reading
from shared.migrate import prepare_database
from shared.models import Report

COLUMNS = ("what", "how many", "result")
ROUNDS = 3
# As many as `overread up` starts on PostgreSQL (api.cli.places).
SCHEDULERS = 2
MIB = 1024 * 1024


def main() -> None:
    """Measure, print, write bench/results/reports.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--patients", type=int, help="patients whose reports are due")
    parser.add_argument("--without-documents", action="store_true")
    chosen = parser.parse_args()
    patients = chosen.patients or (4000 if chosen.quick else 100_000)
    with scratch_folder() as folder, postgresql(folder) as url:
        runs, document_bytes = aggregation(folder, url, patients)
    rows, ratios = told(runs)
    rows.append(("a report's document, mean", f"{patients:,} patients", f"{document_bytes:,.0f} bytes"))
    if not chosen.without_documents:
        with scratch_folder() as folder:
            rows += seconds_of_each(folder, 20 if chosen.quick else 500)
    cohort = {"patients": patients, "studies_each": STUDIES, "films_a_study": FILMS, "model": CONTRACT}
    report("reports", COLUMNS, rows, ratios, keep=not chosen.quick, cohort=cohort)


def aggregation(folder: Path, url: str, patients: int) -> tuple[dict[str, list[Run]], float]:
    """Three rounds of each; the mean size of a report's document as JSON."""
    engine = make_engine(load_settings(data_dir=folder / "reports", database_url=url))
    prepare_database(engine, "bench")
    fill(engine, patients)
    ways: list[tuple[str, MakeStep, int]] = [
        ("product", product, SCHEDULERS),
        ("product, one scheduler", product, 1),
        ("SQL alone", sql_alone, SCHEDULERS),
        ("function alone", function_alone, SCHEDULERS),
    ]
    runs: dict[str, list[Run]] = {name: [] for name, _, _ in ways}
    for _ in range(ROUNDS):
        for name, make_step, processes in ways:
            make_due_again(engine)
            runs[name].append(side_by_side(make_step, url, folder / "reports", processes))
            if make_step is product:
                document_bytes = _check(engine, patients)
    engine.dispose()
    return runs, document_bytes


def _check(engine: Engine, patients: int) -> float:
    """Every patient has one report, or the figure means nothing."""
    with reading(engine) as session:
        number, size = session.execute(
            select(
                func.count(func.distinct(Report.patient_id)), func.avg(func.length(text("document::text")))
            ).select_from(Report)
        ).one()
        assert number == patients == session.scalar(select(func.count()).select_from(Report))
    return float(size)


def told(runs: dict[str, list[Run]]) -> tuple[list[tuple[str, str, str]], dict[str, float]]:
    """Medians, as rows and as figures."""
    per_s = {name: median(run.per_s for run in of_way) for name, of_way in runs.items()}
    rows = [
        (name, f"{ROUNDS} x {runs[name][0].patients:,} patients", f"{rate:,.0f} patients/s")
        for name, rate in per_s.items()
    ]
    tenths = [_tenths(run.rss_bytes) for run in runs["product"]]
    first, last = (median(of_runs) / MIB for of_runs in zip(*tenths, strict=True))
    rows.append(("memory of a scheduler, first and last tenth", "", f"{first:.0f} and {last:.0f} MiB"))
    ratios = {
        "aggregated_patients_per_s": round(per_s["product"]),
        "aggregated_patients_per_s_one_scheduler": round(per_s["product, one scheduler"]),
        "product_vs_sql_alone": round(per_s["product"] / per_s["SQL alone"], 2),
        "memory_last_tenth_vs_first": round(last / first, 2),
    }
    return rows, ratios


def _tenths(rss_bytes: list[int]) -> tuple[float, float]:
    tenth = max(1, len(rss_bytes) // 10)
    return mean(rss_bytes[:tenth]), mean(rss_bytes[-tenth:])


if __name__ == "__main__":
    main()
