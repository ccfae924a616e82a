"""`up`: the embedded system in the foreground, until Ctrl-C."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from api.cli.embedded import Layout, RunningSystem, embedded_system
from api.cli.errors import StartError
from api.cli.folders import TOKEN_FILE
from api.cli.output import json_text, make_console, plain
from api.cli.places import default_workers
from api.cli.session import DEFAULT_DATA_DIR, data_dir_option, json_option

POLL_S = 1.0


@click.command()
@data_dir_option(DEFAULT_DATA_DIR)
@click.option("--host", help="Where the API listens (OVERREAD_API_HOST).  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0: any free one (OVERREAD_API_PORT).  [default: 8484]")
@click.option("--workers", type=click.IntRange(1, 64), help="How many.  [default: one for each GPU, or one]")
@json_option
def up(data_dir: Path, host: str | None, port: int | None, workers: int | None, as_json: bool) -> None:
    """Run the whole system here until Ctrl-C: queue, API, workers, scheduler.

    The first time it makes the database and an administrator's token.
    """
    remarks = make_console(to_stderr=True)
    try:
        with endable(), _started(data_dir.resolve(), host, port, workers, remarks) as system:
            _announce(system, as_json=as_json)
            while not system.supervisor.wait(POLL_S):
                pass
    except KeyboardInterrupt:
        remarks.print("Ended; everything is kept in", plain(data_dir), "for the next time.")
        return
    raise StartError("the services ended unexpectedly; the logs say more")


@contextmanager
def endable() -> Iterator[None]:
    """Within the block, a request to end or a closed terminal is a Ctrl-C."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # A hang-up that is ignored was meant to be: nohup.
    hang_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    numbers = (signal.SIGINT, signal.SIGTERM, *hang_up)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _started(
    data_dir: Path, host: str | None, port: int | None, workers: int | None, remarks: Console
) -> Iterator[RunningSystem]:
    remarks.print("Starting ...")
    layout = Layout(copies={"worker": workers or default_workers()})
    with embedded_system(data_dir, host, port, lambda event: remarks.print(plain(event)), layout) as system:
        yield system
        remarks.print("Ending ...")


def _announce(system: RunningSystem, *, as_json: bool) -> None:
    docs = f"{system.url}/docs"
    if as_json:
        click.echo(json_text({"url": system.url, "docs": docs, "token": system.new_token}))
        return
    out = make_console()
    out.print(f"Overread is at {system.url}, for a browser too; the API's documentation at {docs}", soft_wrap=True)
    if system.new_token is not None:
        out.print(f"Administrator's token, shown this once: {system.new_token}", soft_wrap=True)
        kept = system.settings.data_dir / TOKEN_FILE
        out.print(f"The command line finds it in {kept}; in a browser one logs in with it", soft_wrap=True)
    out.print("Ctrl-C ends it.")
