"""What documents say, by language: a catalogue of words each, in `words/`."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "words"
LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Words:
    """One language's words, by their key with a dot, such as `banner.final`."""

    language: str
    tag: str
    texts: dict[str, str]

    def say(self, key: str, **values: object) -> str:
        """The text of a key, its placeholders filled in."""
        return self.texts[key].format(**values)

    def of(self, group: str, key: str, otherwise: str = "") -> str:
        """The text of a word of data, such as a reason; of one that no catalogue knows, `otherwise` or the word."""
        return self.texts.get(f"{group}.{key}", otherwise or key)

    def group(self, name: str) -> dict[str, str]:
        """All texts of a table, by their keys in it."""
        return {key.removeprefix(f"{name}."): text for key, text in self.texts.items() if key.startswith(f"{name}.")}

    def list(self, parts: list[str]) -> str:
        """Parts of a sentence, one after the other."""
        return self.texts["text.comma"].join(parts)


@cache
def words_in(language: str, folder: Path = FOLDER) -> Words:
    """The catalogue of a language of LANGUAGES; that of the documents, unless another folder of them is named."""
    with (folder / f"{language}.toml").open("rb") as file:
        tables: dict[str, dict[str, Any]] = tomllib.load(file)
    texts = {f"{group}.{key}": str(text) for group, table in tables.items() for key, text in table.items()}
    return Words(language, texts["text.tag"], texts)
