"""What every client command shares: the server's address, the token, and how answers are shown."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec

import click
from click.core import ParameterSource
from rich.console import Console

from api.cli.client import Client, Json, is_loopback
from api.cli.errors import ApiError
from api.cli.fitted import fitted_table
from api.cli.folders import TOKEN_FILE, kept_token
from api.cli.output import json_text, make_console, make_table

P = ParamSpec("P")
DEFAULT_URL = "http://127.0.0.1:8484"
UNAUTHORIZED = 401
DEFAULT_DATA_DIR = Path("overread-data")


@dataclass(frozen=True)
class Session:
    """A client command's way to the server and to the terminal."""

    client: Client
    as_json: bool
    out: Console  # answers
    err: Console  # progress and remarks, so that piped answers stay clean

    def show(self, answer: Json, human: Callable[[], object]) -> None:
        """Print the API's JSON with --json, else what `human` prints or returns."""
        if self.as_json:
            click.echo(json_text(answer))
            return
        shown = human()
        if shown is not None:
            self.out.print(shown)

    def show_list(
        self,
        answer: Json,
        columns: Sequence[tuple[str, Callable[[Json], Any]]],
        empty: str,
        spare: Sequence[str] | None = None,
        whole: Sequence[str] = (),
    ) -> None:
        """Print a list as a table of (heading, how to read it from an item).

        With `spare` the first column is an id that is never folded; columns named there may be left out. Without it,
        columns named in `whole` are not folded.
        """
        items = answer["items"]
        if not items:
            self.show(answer, lambda: empty)
        elif spare is None:
            self.show(answer, lambda: make_table(columns, items, whole=whole))
        else:
            self.show(answer, lambda: fitted_table(columns, items, self.out.width, spare))
        if answer.get("next") and not self.as_json:
            self.err.print(f"The first {len(items)} are shown; there are more (--limit 0: all).")


def make_session(url: str, token: str | None, *, as_json: bool) -> Session:
    """A session with the server at `url`."""
    return Session(Client(url, token), as_json, make_console(), make_console(to_stderr=True))


def find_token(url: str, token: str | None, data_dir: Path) -> str | None:
    """The token that was given, else the one `up` left in the data folder: for this machine's own API only."""
    return kept_token(data_dir) if token is None and is_loopback(url) else token


def data_dir_option(
    default: Path, envvar: str | None = "OVERREAD_DATA_DIR"
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """The --data-dir option."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=default,
        show_default=True,
        envvar=envvar,
        help="Where the embedded system keeps everything.",
    )


def json_option(command: Callable[P, None]) -> Callable[P, None]:
    """The --json option."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")(command)


def limit_option(command: Callable[P, None]) -> Callable[P, None]:
    """The --limit option of lists."""
    return click.option(
        "--limit", type=click.IntRange(min=0), default=100, show_default=True, help="How many to list (0: all)."
    )(command)


def client_command(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command a Session as its first argument, and the options that it is made from."""

    @functools.wraps(command)
    def run(*, url: str, token: str | None, data_dir: Path, as_json: bool, **options: Any) -> None:
        used = find_token(url, token, data_dir)
        session = make_session(url, used, as_json=as_json)
        with session.client:
            try:
                command(session, **options)
            except ApiError as error:
                if as_json:
                    click.echo(json_text(error.problem))
                if error.status == UNAUTHORIZED:
                    message = _missing_token(url, data_dir) if used is None else _refused_token(data_dir)
                    raise ApiError(message, status=error.status, problem=error.problem) from error
                raise

    address = click.option(
        "--url",
        default=DEFAULT_URL,
        show_default=True,
        envvar="OVERREAD_URL",
        callback=_checked_url,
        help="The API's address.",
    )
    secret = click.option(
        "--token",
        envvar="OVERREAD_TOKEN",
        help="Bearer token; better given in OVERREAD_TOKEN. Default: the one in the data folder.",
    )
    return address(secret(data_dir_option(DEFAULT_DATA_DIR)(json_option(run))))


def _missing_token(url: str, data_dir: Path) -> str:
    if is_loopback(url):
        return f"no token given, and none in {data_dir / TOKEN_FILE}: use --token, OVERREAD_TOKEN or --data-dir"
    return "no token given, and a kept one serves this machine's own server only: use --token or OVERREAD_TOKEN"


def _refused_token(data_dir: Path) -> str:
    source = click.get_current_context().get_parameter_source("token")
    names = {ParameterSource.COMMANDLINE: "--token", ParameterSource.ENVIRONMENT: "OVERREAD_TOKEN"}
    origin = str(data_dir / TOKEN_FILE) if source is None else names.get(source, str(data_dir / TOKEN_FILE))
    return f"the server refused the token (from {origin}): it is unknown, expired or revoked"


def _checked_url(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise click.BadParameter(f"{value!r} is not an address; it begins with http:// or https://")
    return value
