"""What the pages' words mean, for who reads reports and for who runs the system: the pages of `docs/`."""

from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from api.web.site import blueprint, page

FOLDER = Path(__file__).parent / "guides"


@blueprint.get("/help/<any(physicians, operators):whom>")
def get_help(whom: str) -> Any:
    """Our own text, so its HTML is as it is; HTML within it is shown as text."""
    text = (FOLDER / f"for-{whom}.md").read_text(encoding="utf-8")
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return page("help.html", whom=whom, text=Markup(html))  # noqa: S704 - no word of it is anybody else's
