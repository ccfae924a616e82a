"""Glossary and decisions speak of code that exists."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "docs" / "glossary.md", *sorted((ROOT / "docs" / "decisions").glob("*.md"))]
NAME = re.compile(r"`((?:api|scheduler|shared|worker)(?:\.\w+)+)`")
SETTING = re.compile(r"\bOVERREAD_[A-Z_]+\b")


def exists(name: str) -> bool:
    """True for a module, or what is in one, or an attribute of that."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_document_names_only_code_that_exists(document: Path) -> None:
    from shared.config import Settings

    text = document.read_text()
    settings = {f"OVERREAD_{name.upper()}" for name in Settings.model_fields} | {"OVERREAD_SECRETS_DIR"}

    assert [name for name in NAME.findall(text) if not exists(name)] == []
    assert set(SETTING.findall(text)) <= settings


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in DOCUMENTS[1:]]
    titles = [path.read_text().splitlines()[0] for path in DOCUMENTS[1:]]

    assert numbers == list(range(1, len(numbers) + 1))
    assert all(title.startswith(f"# {number}. ") for number, title in zip(numbers, titles, strict=True))
