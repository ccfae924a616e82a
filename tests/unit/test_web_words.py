"""The pages say the same in every language."""

from string import Formatter

from api.documents.wording import LANGUAGES, words_in
from api.schemas.jobs import WaitsFor
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


def test_every_cause_of_waiting_has_words() -> None:
    assert words_in(LANGUAGES[0], WORDS).group("waits").keys() == set(WaitsFor)
