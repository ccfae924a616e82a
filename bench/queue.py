"""The queue: claims per second, latency from 202 to the first prediction, and lists over a million jobs.

`python -m bench.queue` takes about a quarter of an hour; `--quick` two minutes, with smaller tables.
"""

import argparse
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

from bench.harness import milliseconds, percentile, report
from bench.queue_claims import claims_per_second
from bench.queue_dispatch import dispatch
from bench.queue_scale import answer_times
from bench.servers import postgresql, scratch_folder
from shared.config import Settings, load_settings

COLUMNS = ("what", "how many", "p50 or rate", "p99")


def main() -> None:
    """Measure, print, write bench/results/queue.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, help="jobs in the big database, ten items each")
    chosen = parser.parse_args()
    shards, dispatched, requests = (300, 30, 50) if chosen.quick else (2000, 200, 200)
    jobs = chosen.jobs or (20_000 if chosen.quick else 1_000_000)
    rows: list[tuple[str, str, str, str]] = []
    ratios: dict[str, float] = {}
    with scratch_folder() as folder, postgresql(folder) as url:
        for name, settings in _databases(folder, url):
            rate = claims_per_second(settings, shards)
            rows.append((f"claim + begin + finish, {name}", f"3 x {shards}", f"{rate:.0f} /s", ""))
        latencies, noops = dispatch(folder, dispatched)
        rows.append(_row("202 to first prediction's commit", latencies))
        rows.append(_row("Celery no-op, there and back", noops))
        ratios["dispatch_vs_celery_noop"] = round(percentile(latencies, 0.5) / percentile(noops, 0.5), 2)
        big = load_settings(data_dir=folder / "big", database_url=_new_database(url, "big"))
        for name, times in answer_times(big, jobs, requests).items():
            rows.append(_row(f"GET {name}, {jobs:,} jobs in PostgreSQL", times))
    report("queue", COLUMNS, rows, ratios, jobs=jobs, items=jobs * 10)


def _databases(folder: Path, url: str) -> list[tuple[str, Settings]]:
    sqlite = load_settings(data_dir=folder / "sqlite")
    return [
        ("SQLite", sqlite),
        ("PostgreSQL", load_settings(data_dir=folder / "pg", database_url=_new_database(url, "claims"))),
    ]


def _new_database(url: str, name: str) -> str:
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def _row(what: str, times: list[float]) -> tuple[str, str, str, str]:
    return (what, str(len(times)), milliseconds(percentile(times, 0.5)), milliseconds(percentile(times, 0.99)))


if __name__ == "__main__":
    main()
