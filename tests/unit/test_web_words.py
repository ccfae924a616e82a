"""The pages say the same in every language."""

from string import Formatter

from api.documents.wording import LANGUAGES, words_in
from api.web.site import WORDS


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_every_language_has_the_same_keys_and_placeholders() -> None:
    english, *others = (words_in(language, WORDS).texts for language in LANGUAGES)

    for other in others:
        assert set(other) == set(english)
        assert {key: placeholders(text) for key, text in other.items()} == {
            key: placeholders(text) for key, text in english.items()
        }
