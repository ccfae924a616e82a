"""What all pages share: who looks, in which language, how a page is answered, what a refusal looks like."""

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from apiflask import APIBlueprint
from flask import Response, g, make_response, redirect, render_template, request
from markupsafe import Markup, escape
from werkzeug.exceptions import NotFound

from api.auth import COOKIE, SAFE, csrf_of, is_csrf
from api.documents.wording import LANGUAGES, Words, words_in
from api.errors import PROBLEM_JSON, of_http_exception
from api.web.form_of_files import FILES_TYPE, word_of_files
from api.web.inner import Json, RefusedError, ask
from api.web.telling import FILTERS
from shared.states import Scope

WORDS = Path(__file__).parent / "words"
LANGUAGE = "overread_language"
YEAR_S = 365 * 86_400
OF_PROGRAMS = ("/api/", "/dicomweb/")
HTML = "text/html"
LOGIN = "web.get_login"
# Pages before anybody is known: their forms carry no word of a session.
OPEN = frozenset({LOGIN, "web.post_login", "web.get_language", "web.static"})
# What stands above every page: its words, where it leads, and which scope makes it of use.
ROOMS = (
    ("tonight", "/", Scope.READ),
    ("worklist", "/worklist", Scope.REVIEW),
    ("reports", "/reports", Scope.READ),
    ("jobs", "/jobs", Scope.READ),
    ("submit", "/submit", Scope.SUBMIT),
    ("models", "/models", Scope.READ),
    ("schedules", "/schedules", Scope.READ),
    ("admin", "/admin", Scope.ADMIN),
)
# No script, style or picture of anybody else, no frame around us, and forms only come here.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
NOBODY: dict[str, Any] = {"me": None, "rooms": []}
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

blueprint = APIBlueprint(
    "web",
    __name__,
    enable_openapi=False,
    template_folder="templates",
    static_folder="static",
    static_url_path="/static",
)


def me() -> Json:
    """Who looks; raises RefusedError where nobody is logged in."""
    if "me" not in g:
        g.me = ask("/api/v1/me")
    found: Json = g.me
    return found


def words() -> Words:
    """Those that were chosen, else the browser's language, else English."""
    chosen = request.cookies.get(LANGUAGE)
    if chosen not in LANGUAGES:
        chosen = request.accept_languages.best_match(LANGUAGES) or LANGUAGES[0]
    return words_in(chosen, WORDS)


def problem_titles() -> dict[str, str]:
    """What a problem of the API is, in the page's words, by its status and by its reason, which says more."""
    return words().group("status") | words_in(words().language).group("reason")


def fault(problem: Json) -> Markup:
    """What went wrong in the page's words, and below it what the API says of it, which is English."""
    if "status" not in problem:
        return escape(problem["detail"])
    titles = problem_titles()
    title = titles.get(problem.get("reason", "")) or titles.get(str(problem["status"])) or problem["title"]
    return Markup('<b>{}</b> <span class="said" lang="en"><bdi>{}</bdi></span>').format(title, problem["detail"])


def reason_text(told: Json) -> str:
    """Why something failed, of what the API says of it, in the reader's language."""
    return words_in(words().language).of("reason", told["reason"], told["reason_text"])


def page(template: str, status: int = 200, **values: Any) -> Response:
    """A page for who is logged in; 304 where it is as the browser has it."""
    return _answered(template, _standing() | values, status)


def bare_page(template: str, status: int = 200, **values: Any) -> Response:
    """A page for anybody."""
    return _answered(template, NOBODY | values, status)


def _standing() -> dict[str, Any]:
    told = me()
    return {"me": told, "rooms": [(name, path) for name, path, scope in ROOMS if scope in told["scopes"]]}


def _answered(template: str, values: dict[str, Any], status: int = 200) -> Response:
    secret = request.cookies.get(COOKIE, "")
    html = render_template(
        f"web/{template}", words=words(), say=words().say, csrf=csrf_of(secret), languages=LANGUAGES, **values
    )
    response = make_response(html, status)
    # Pages tell of patients: nothing keeps them, and a page that is open asks whether it still holds.
    response.headers["Cache-Control"] = "no-store"
    response.set_etag(hashlib.sha256(html.encode()).hexdigest()[:32])
    response.make_conditional(request)
    return response


def back_to(path: str) -> Response:
    """Off to a page of ours, with GET, after a change."""
    answer: Response = redirect(path, code=303)  # type: ignore[assignment]
    return answer


def own_path(given: str) -> str:
    """Where to go after a login; only within this site."""
    is_ours = given.startswith("/") and not given.startswith(("//", "/\\")) and given.isprintable()
    return given if is_ours else "/"


def give_cookie(response: Response, name: str, value: str, seconds: float) -> None:
    """One that no script reads and no other site sends; only over TLS where we are behind it."""
    response.set_cookie(
        name, value, max_age=round(seconds), httponly=True, samesite="Lax", secure=request.is_secure, path="/"
    )


@blueprint.before_request
def _check_word() -> None:
    """A form that changes something gives back what the page had; a login's, which has nothing, comes from our page."""
    if request.method in SAFE:
        return
    if request.endpoint in OPEN:
        if _is_of_another_site():
            raise RefusedError(403, {"detail": words().say("problem.csrf")})
        return
    word = word_of_files() if request.mimetype == FILES_TYPE else request.form.get("csrf", "")
    if not is_csrf(request.cookies.get(COOKIE, ""), word):
        raise RefusedError(403, {"detail": words().say("problem.csrf")})


def _is_of_another_site() -> bool:
    """Whether the browser says so: else somebody's page could log a reader in as somebody else."""
    if site := request.headers.get("Sec-Fetch-Site"):
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc != request.host


@blueprint.after_request
def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


@blueprint.errorhandler(RefusedError)
def _refused(error: RefusedError) -> Response:
    """Nobody is logged in any more: off to the login; else the problem."""
    if error.status == 401 and request.endpoint not in OPEN:  # noqa: PLR2004 - the status itself is the case
        here = request.full_path.rstrip("?") if request.method in SAFE else "/"
        return make_response(redirect(f"/login?{urlencode({'next': here})}", code=303))
    try:
        standing = _standing()
    except RefusedError:
        standing = NOBODY
    return _answered("problem.html", standing | {"problem": error.problem, "status": error.status}, error.status)


@blueprint.app_errorhandler(404)
def _no_such_page(error: NotFound) -> Response:
    """A reader who looks for a page is told on one; whoever asks the API has the problem document."""
    liked = request.accept_mimetypes.best_match((PROBLEM_JSON, HTML))
    if request.path.startswith(OF_PROGRAMS) or liked != HTML:
        return of_http_exception(error)
    return _refused(RefusedError(404, {"detail": words().say("problem.no_page")}))


blueprint.add_app_template_global(problem_titles)
for _name, _filter in (FILTERS | {"fault": fault}).items():
    blueprint.add_app_template_filter(_filter, _name)
