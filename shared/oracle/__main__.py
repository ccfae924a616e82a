"""`python -m shared.oracle`: the verdict on the configured database and content store, as text or JSON."""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from uuid import UUID

from shared.config import load_settings
from shared.db import make_engine, reading
from shared.oracle.judge import Answer, judge
from shared.oracle.recovery import Fault
from shared.storage import ContentStore

EXIT_FAILED = 1


def main() -> int:
    """Judge, print, and say by the exit code whether all checks passed."""
    options = _options()
    settings = load_settings()
    # It reads all rows in one transaction, and every stored file meanwhile.
    with reading(make_engine(settings, may_idle=True)) as session:
        answer = judge(
            session,
            ContentStore(settings.store_dir),
            acknowledged=_acknowledged(options.acknowledged),
            faults=_faults(options.faults),
            sample=options.sample,
        )
    text = json.dumps(answer) if options.json else "\n".join(_lines(answer))
    sys.stdout.write(text + "\n")
    return 0 if answer["passed"] else EXIT_FAILED


def _options() -> Namespace:
    parser = ArgumentParser("python -m shared.oracle", description="Was anything lost or done twice?")
    parser.add_argument("--acknowledged", type=Path, help="JSON list of the ids of jobs that clients got a 202 for")
    parser.add_argument("--faults", type=Path, help="JSON list of faults: kind, at, and perhaps owner, recovered_s")
    parser.add_argument("--sample", type=int, default=0, help="read so many stored files, chosen at random (0: all)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _acknowledged(path: Path | None) -> list[UUID]:
    return [] if path is None else [UUID(text) for text in json.loads(path.read_text())]


def _faults(path: Path | None) -> list[Fault]:
    given = [] if path is None else json.loads(path.read_text())
    return [Fault(**fault | {"at": datetime.fromisoformat(fault["at"])}) for fault in given]


def _lines(answer: Answer) -> Iterator[str]:
    for name in ("submitted", "jobs", "items", "shards", "predictions", "reports"):
        yield f"{name}: {_text(answer[name])}"
    for name in ("lost", "doubled", "old_fence", "wrong", "fenced_out"):
        yield f"{name.replace('_', ' ')}: {answer[name]}"
    yield f"executions per shard: {_text(answer['executions'])}"
    for row in answer["recovery"]:
        yield f"recovery: {_text(row)}"
    for finding in answer["findings"]:
        yield f"FAILED, {finding['verdict']}: {finding['what']}: {finding['count']} ({', '.join(finding['examples'])})"
    yield f"{'passed' if answer['passed'] else 'FAILED'} in {answer['seconds']} s"


def _text(value: object) -> str:
    return ", ".join(f"{name} {number}" for name, number in value.items()) if isinstance(value, dict) else str(value)


if __name__ == "__main__":
    sys.exit(main())
