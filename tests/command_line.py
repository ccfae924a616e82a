"""The command line against the real API, over HTTP on loopback."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from click.testing import CliRunner, Result
from structlog.testing import capture_logs
from werkzeug.serving import make_server

from api.cli.main import main
from tests.conftest import Api

Run = Callable[..., Result]


@contextmanager
def command_line(api: Api) -> Iterator[Run]:
    """Runs `overread` with these words, as an admin, and has it answer in JSON."""
    server = make_server("127.0.0.1", 0, api.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"

    def run(*words: object, token: str = api.prepared.token, says: str = "") -> Result:
        return CliRunner().invoke(main, [*map(str, words), "--url", url, "--token", token, "--json"], input=says)

    # the server's own lines would stand among the answers: here it shares the command's standard output
    with capture_logs():
        yield run
    server.shutdown()
    thread.join()
    server.server_close()


def answer_of(result: Result, exit_code: int = 0) -> Any:
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)
