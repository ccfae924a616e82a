"""In and out, and the language of the pages."""

from typing import Any

from flask import make_response, request

from api.auth import COOKIE
from api.documents.wording import LANGUAGES
from api.web.inner import RefusedError, change, log_in
from api.web.site import LANGUAGE, YEAR_S, back_to, bare_page, blueprint, give_cookie, own_path, words


@blueprint.get("/login")
def get_login() -> Any:
    """The form."""
    return bare_page("login.html", after=own_path(request.args.get("next", "/")), said=None)


@blueprint.post("/login")
def post_login() -> Any:
    """A session by a token, or by name and password; on to where one wanted to go."""
    form = request.form
    after, token = own_path(form.get("next", "/")), form.get("token", "").strip()
    try:
        if token:
            session = log_in(token)
        else:
            session = log_in(name=form.get("name", "").strip(), password=form.get("password", ""))
    except RefusedError as error:
        said = {"detail": words().say("login.refused")} if error.status in (401, 422) else error.problem
        return bare_page("login.html", error.status, after=after, said=said)
    response = back_to(after)
    give_cookie(response, COOKIE, session["secret"], session["lasts_s"])
    return response


@blueprint.post("/logout")
def post_logout() -> Any:
    """The session is over, here and for whoever else has its cookie."""
    response = make_response(back_to("/login"))
    try:
        change("DELETE", "/api/v1/sessions/current")
    except RefusedError as error:
        if error.status != 401:  # noqa: PLR2004 - it is over already
            raise
    response.delete_cookie(COOKIE, path="/")
    return response


@blueprint.get("/language/<string:language>")
def get_language(language: str) -> Any:
    """The pages speak it from now on."""
    response = back_to(own_path(request.args.get("next", "/")))
    if language in LANGUAGES:
        give_cookie(response, LANGUAGE, language, YEAR_S)
    return response
