"""The catalogues of words: each says everything, with the same gaps to fill in, and nothing that nobody asks for."""

import string
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from api.documents.content import page_of
from api.documents.wording import FOLDER, LANGUAGES, words_in
from shared.reasons import Reason
from shared.states import NO_MAP_TEXTS, FollowUpAction, ReportStatus, Urgency, Verdict
from tests.report_odd_samples import ODD_SAMPLES
from tests.report_samples import SAMPLES

# Groups whose keys are words of data.
OF_DATA = {
    "reason": set(Reason),
    "no_map": {word.value for word in NO_MAP_TEXTS},
    "status": set(ReportStatus),
    "verdict": set(Verdict),
    "urgency": set(Urgency),
    "action": set(FollowUpAction),
    "sex": {"M", "F", "O"},
    "rule": {"max", "mean", "mean_top_k", "noisy_or", "majority"},
    "scope": {"latest_study", "all", "window_days"},
}


def gaps(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_every_language_has_a_catalogue_and_none_lies_about_unused() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(LANGUAGES)


def test_catalogues_have_the_same_keys_and_the_same_gaps() -> None:
    for one, other in pairwise(LANGUAGES):
        first, second = words_in(one).texts, words_in(other).texts
        assert first.keys() == second.keys()
        assert {key: gaps(text) for key, text in first.items()} == {key: gaps(text) for key, text in second.items()}
        assert all(text.strip() for text in (*first.values(), *second.values()))


def test_chinese_leaves_no_english_sentence() -> None:
    english, chinese = words_in("en").texts, words_in("zh").texts

    assert [key for key in english if english[key] == chinese[key] and " " in english[key] and "UID" not in key] == [
        key for key in ("studies.study", "excluded.instance") if key in english
    ]


def test_words_of_data_are_all_known() -> None:
    texts = words_in("en").texts
    for group, words in OF_DATA.items():
        assert {key.partition(".")[2] for key in texts if key.startswith(f"{group}.")} == {str(word) for word in words}


class Noted(dict[str, str]):
    """Texts that remember which of them were asked for."""

    def __init__(self, texts: dict[str, str]) -> None:
        super().__init__(texts)
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> str:
        self.asked.add(key)
        return super().__getitem__(key)


def test_no_text_is_kept_that_no_document_says() -> None:
    words = words_in("en")
    noted = Noted(words.texts)
    noting = replace(words, texts=noted)

    for make in (SAMPLES | ODD_SAMPLES).values():
        version = make()
        page_of(version.source, list(version.pictures)[:2], noting)

    unsaid = set(words.texts) - noted.asked
    of_pdf = {"text.tag", "page.number", "made.fonts", "made.fonts_text"}
    assert {key for key in unsaid - of_pdf if key.partition(".")[0] not in OF_DATA} == set()


def test_catalogue_ships_with_the_package() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()

    assert '"*.toml"' in project
