"""The shape that the project keeps: small files, a word at the head of each, patient data out of logs and messages."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = ("api", "worker", "scheduler", "shared")
FILES = sorted(path for program in PROGRAMS for path in (ROOT / program).rglob("*.py"))
MOST_LINES = 400
# Fields that say who a patient is; none may be a keyword of a log line, an error's context or a task.
IDENTIFYING = {
    "patient_id",
    "patient_name",
    "patient_birth_date",
    "patient_sex",
    "name",
    "filename",
    "label",
    "study_instance_uid",
    "series_instance_uid",
    "sop_instance_uid",
}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_file_is_short_and_says_what_it_is_for(path: Path) -> None:
    source = path.read_text()

    if "migrations/versions" not in str(path):
        assert len(source.splitlines()) <= MOST_LINES
    assert ast.get_docstring(ast.parse(source)), "a module begins with a line that says what it serves"


def _calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield node


def _is_log(call: ast.Call) -> bool:
    function = call.func
    return isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "log"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_log_lines_name_no_patient(path: Path) -> None:
    for call in _calls(path):
        if _is_log(call):
            assert not {keyword.arg for keyword in call.keywords} & IDENTIFYING
            assert isinstance(call.args[0], ast.Constant), "an event is a fixed word; what varies is a keyword"
