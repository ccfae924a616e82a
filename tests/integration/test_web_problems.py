"""A problem on a page: what it is in the page's words, and what the API says of it, marked as English."""

import re

from api.documents.wording import LANGUAGES, words_in
from api.errors import STATUS_OF
from api.web.site import WORDS
from tests.browsing import Browser, browser_of
from tests.conftest import Api

WEB = WORDS.parent
# What no route lists: a method that it has not, what nobody foresaw, and what a proxy says in the server's place.
UNLISTED = {"405", "500", "502", "504"}


def test_every_status_of_a_problem_has_words_in_every_language(api: Api) -> None:
    paths = api.app.test_client().get("/openapi.json").json["paths"]
    listed = {code for path in paths.values() for act in path.values() for code in act["responses"] if code >= "400"}
    known = {str(status.value) for _, status in STATUS_OF}

    assert {"401", "406", "422"} <= listed
    for language in LANGUAGES:
        texts = words_in(language, WORDS).texts
        assert [code for code in sorted(listed | known | UNLISTED) if f"status.{code}" not in texts] == []


def test_problem_is_told_in_the_words_of_the_page_and_then_in_english(api: Api) -> None:
    browser = Browser(api, api.prepared.token)
    browser.get("/language/zh?next=/", 303)

    page = browser.get("/jobs/01a20fdb-8f94-75f9-9123-f4612e95134f", 404).text
    form = browser.submit("/admin/tokens", on="/admin", status=422, principal="-", scope="read").text

    assert '<b>此处没有内容，或您无权查看。</b> <span class="said" lang="en"><bdi>There is no such job.' in page
    assert "Not Found" not in page
    assert '<b>所填内容中有无法接受之处。</b> <span class="said" lang="en"><bdi>' in form


def test_what_a_page_refuses_by_itself_is_in_its_own_words_alone(api: Api) -> None:
    browser = browser_of(api, "read")
    browser.get("/language/zh?next=/", 303)

    page = browser.get("/submit", 403).text

    assert 'role="alert">提交需要 submit 权限，而您的会话没有' in page
    assert 'class="said"' not in page


def test_page_whose_script_tells_of_problems_has_their_words() -> None:
    telling = {path.name for path in (WEB / "static").glob("*.js") if re.search(r"import .*\btold\b", path.read_text())}
    texts = {path.name: path.read_text() for path in (WEB / "templates" / "web").glob("*.html")}
    loading = {name for name, text in texts.items() if any(f"'{script}'" in text for script in telling)}
    pages = {name for name, text in texts.items() if "web/base.html" in text}
    told = {name for name in pages if any(name == one or f'from "web/{one}"' in texts[name] for one in loading)}

    assert {"submit.html", "image.html", "report.html", "schedule_form.html"} <= told
    assert [name for name in sorted(told) if "web/problems.html" not in texts[name]] == []
