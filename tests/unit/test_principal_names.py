"""Names of principals: as people have them, and nothing that a terminal obeys or that looks like another name."""

import pytest
from pydantic import ValidationError

from api.schemas.principals import TokenWanted


def named(name: str) -> str:
    return TokenWanted.model_validate({"principal": name, "scopes": ["review"]}).principal


@pytest.mark.parametrize(
    "name", ["Dr Jansen", "dr.a", "ward_7@night-shift", "Siobhán O'Neill", "李 明", "Нина", "हिन्दी", "x", "ß" * 64]
)
def test_name_is_kept_as_people_write_it(name: str) -> None:
    assert named(name) == name


def test_name_is_the_same_in_either_unicode_form() -> None:
    assert named("Zoe\u0308") == named("Zo\u00eb") == "Zo\u00eb"


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", " Dr Jansen", "Dr Jansen ", "-x", "'x", "a\tb", "a\nb", "a\x1b[0m", "a\x00", "a\u00a0b"),
        *("a\u202eb", "a\u200bb", "a/b", "a^b", "a\\b", "<b>", "x" * 65),
    ],
)
def test_other_names_are_refused_in_words(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        named(name)

    if len(name) <= 64:
        assert "expected letters and digits of any script" in str(caught.value)
