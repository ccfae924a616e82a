"""`chaos` and `verify`: whether anything is lost, shown by breaking things, and on a system of the user's."""

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.status import Status

from api.cli.chaos.disk import go_on_in_namespace, small_disk
from api.cli.chaos.plan import NOT_HAD, Kind
from api.cli.chaos.run import EVERY_S, OPEN_STATES, Chaos, Wanted
from api.cli.chaos.stage import QUICK, Cast, data_folder
from api.cli.chaos.tables import print_verdict
from api.cli.chaos.verdict import ask_oracle
from api.cli.client import Json
from api.cli.errors import EXIT_INTERRUPTED, EXIT_REFUSED
from api.cli.output import json_text, make_console, plain
from api.cli.session import DEFAULT_DATA_DIR, data_dir_option, json_option
from api.cli.up import endable
from shared.config import load_settings

MINUTE_S = 60.0
MAX_SEED = 2**31 - 1
PROGRESS_S = 10.0


@click.command()
@click.option("--seed", type=click.IntRange(0, MAX_SEED), help="The same seed, the same plan.  [default: by chance]")
@click.option("--minutes", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="How long to break it.")
@click.option(
    "--shards", type=click.IntRange(min=0), default=0, help="So many, and longer if it must be; 0: as they come."
)
@click.option(
    "--every", type=click.FloatRange(min=0.5), default=EVERY_S, show_default=True, help="Seconds between faults."
)
@click.option("--workers", type=click.IntRange(1, 8), default=2, show_default=True)
@click.option("--schedulers", type=click.IntRange(1, 4), default=2, show_default=True)
@click.option("--database", type=click.Choice(["sqlite", "postgresql"]), default="sqlite", show_default=True)
@click.option("--scratch", type=click.Path(file_okay=False, path_type=Path), help="Where its folder is made.")
@click.option("--keep", is_flag=True, help="Keep the folder also when all is well.")
@json_option
def chaos(
    seed: int | None,
    minutes: float,
    shards: int,
    every: float,
    scratch: Path | None,
    keep: bool,
    as_json: bool,
    **cast: Any,
) -> None:
    """Break a system of its own on purpose, under load, and show that nothing is lost or done twice.

    It touches nothing of yours: all of it lies in a folder of its own. Exit code 0: nothing was lost or doubled.
    """
    go_on_in_namespace(cast["database"])
    used = random.randint(0, MAX_SEED) if seed is None else seed  # noqa: S311 - any number will do
    wanted = Wanted(Cast(used, **cast), minutes * MINUTE_S, shards, every)
    folder = Path(tempfile.mkdtemp(prefix="overread-chaos-", dir=scratch))
    # An own PostgreSQL may run as another user, who must be able to get to his folder.
    folder.chmod(0o711)
    remarks = make_console(to_stderr=True)
    remarks.print(plain(f"Seed {used}; everything lies in {folder}"), soft_wrap=True)
    try:
        with endable(), remarks.status("") as status, small_disk(data_folder(folder)) as disk:
            run = Chaos(wanted, folder, Progress(remarks, status), disk)
            answer = run.run()
    except KeyboardInterrupt:
        remarks.print(plain(f"Broken off; what there is lies in {folder}"), soft_wrap=True)
        click.get_current_context().exit(EXIT_INTERRUPTED)
    not_had = [kind.value for kind in Kind if kind not in run.kinds()]
    beside = {"seed": used, "repeat": _repeat(wanted, minutes), "not_had": not_had}
    answer = _with_two_answers(answer, run) | beside
    _show(answer, run, as_json=as_json)
    if answer["passed"] and not keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        remarks.print(plain(f"Database, content store and logs are kept in {folder}"), soft_wrap=True)
    _end(answer)


class Progress:
    """One line that changes in a terminal; elsewhere a line now and then."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console = console
        self._status = status
        self._told_at_s = 0.0

    def __call__(self, line: str) -> None:
        """Show the line."""
        self._status.update(plain(line))
        if not self._console.is_terminal and time.monotonic() - self._told_at_s > PROGRESS_S:
            self._told_at_s = time.monotonic()
            self._console.print(plain(line), soft_wrap=True)


def _with_two_answers(answer: Json, run: Chaos) -> Json:
    """A key that was answered with two jobs doubled one, which the database alone cannot tell."""
    number = run.ledger.two_answers()
    if not number:
        return answer
    finding = {"verdict": "doubled", "what": "an Idempotency-Key was answered with two jobs", "count": number}
    return answer | {
        "passed": False,
        "doubled": answer["doubled"] + number,
        "findings": [*answer["findings"], finding | {"examples": []}],
    }


def _repeat(wanted: Wanted, minutes: float) -> str:
    cast = wanted.cast
    options = {"seed": cast.seed, "minutes": f"{minutes:g}", "shards": wanted.shards, "every": f"{wanted.every_s:g}"}
    options |= {"workers": cast.workers, "schedulers": cast.schedulers, "database": cast.database}
    return "overread chaos " + " ".join(f"--{name} {value}" for name, value in options.items())


def _show(answer: Json, run: Chaos, *, as_json: bool) -> None:
    if as_json:
        click.echo(json_text(answer))
        return
    out = make_console()
    print_verdict(out, answer, _beside(run))
    for kind in answer["not_had"]:
        out.print(plain(f"not had: {kind}: {NOT_HAD[Kind(kind)]}"), soft_wrap=True)
    out.print(plain(f"To repeat it: {answer['repeat']}"), soft_wrap=True)
    end = "Nothing was lost, nothing was doubled." if answer["passed"] else "FAILED: see the lines in red."
    out.print(end, style="green" if answer["passed"] else "red")


def _beside(run: Chaos) -> Mapping[str, Any]:
    cast = run.wanted.cast
    rates = {name.removeprefix("fault_").removesuffix("_rate"): QUICK[name] for name in QUICK if name.endswith("_rate")}
    return {
        "ran": f"{cast.workers} workers, {cast.schedulers} schedulers on {cast.database}, "
        f"{run.wanted.seconds:.0f} s, seed {cast.seed}",
        "faults done": len(run.ledger.faults()),
        "faults by chance all the while": ", ".join(f"{name.replace('_', ' ')} {rate}" for name, rate in rates.items()),
        "clocks wrong by up to": f"{QUICK['fault_clock_error_s']:.0f} s, each process by another time",
        "clients met": _counted(run.ledger.answers()),
    }


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items())) or "none"


@click.command()
@data_dir_option(DEFAULT_DATA_DIR)
@click.option("--sample", type=click.IntRange(min=0), default=0, help="Read so many stored files; 0: all.")
@json_option
def verify(data_dir: Path, sample: int, as_json: bool) -> None:
    """Check that nothing of a system that came to rest is lost or doubled; reads its database and content store.

    Work that is still open counts as lost: run it when nothing waits.
    """
    answer = ask_oracle(load_settings(data_dir=data_dir.resolve()), sample=sample)
    if as_json:
        click.echo(json_text(answer))
    else:
        print_verdict(make_console(), answer)
        if still_open := sum(answer["jobs"].get(state, 0) for state in OPEN_STATES):
            click.echo(f"Jobs that are still open count as lost, here {still_open}: let them end, then ask again.")
    _end(answer)


def _end(answer: Json) -> None:
    click.get_current_context().exit(0 if answer["passed"] else EXIT_REFUSED)
