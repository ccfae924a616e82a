"""A page -> HTML that needs nothing else: no script, no address; pictures and drawings lie in it."""

import base64
from collections.abc import Mapping
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from api.documents.chart import HEIGHT, WIDTH
from api.documents.page import Page


def make_html(page: Page, pictures: Mapping[int, bytes]) -> bytes:
    """The page; `pictures` are PNG by the heat map's id."""
    encoded = {number: base64.b64encode(png).decode() for number, png in pictures.items()}
    return _template().render(page=page, pictures=encoded).encode()


@cache
def _template() -> Template:
    environment = Environment(loader=PackageLoader("api"), autoescape=True, undefined=StrictUndefined)
    environment.globals |= {"kind_of": lambda one: type(one).__name__, "width": WIDTH, "height": HEIGHT}
    return environment.get_template("report.html")
