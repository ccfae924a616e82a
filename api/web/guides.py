"""What the pages' words mean, for who reads reports and for who runs the system: `docs/`, in the pages' languages."""

from pathlib import Path
from typing import Any

from flask import send_from_directory
from markdown_it import MarkdownIt
from markupsafe import Markup

from api.documents.wording import LANGUAGES
from api.web.site import blueprint, page, words

FOLDER = Path(__file__).parent / "guides"


@blueprint.get("/help/<any(physicians, operators):whom>")
def get_help(whom: str) -> Any:
    """Our own text, so its HTML is as it is; HTML within it is shown as text."""
    text = guide(whom, words().language).read_text(encoding="utf-8")
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return page("help.html", whom=whom, text=Markup(html))  # noqa: S704 - no word of it is anybody else's


@blueprint.get("/help/pictures/<string:name>")
def get_picture(name: str) -> Any:
    """Of a guide, which names it beside itself."""
    return send_from_directory(FOLDER / "pictures", name)


def guide(whom: str, language: str) -> Path:
    """The file: the first language's has the plain name."""
    return FOLDER / (f"for-{whom}.md" if language == LANGUAGES[0] else f"for-{whom}.{language}.md")
