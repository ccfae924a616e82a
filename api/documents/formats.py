"""The documents that are made of a report version: their media types and suffixes, and what makes each."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Literal

import structlog

from api.documents.content import page_of
from api.documents.html import make_html
from api.documents.secondary_capture import make_secondary_captures
from api.documents.source import Source
from api.documents.wording import LANGUAGES, words_in
from api.pictures import PictureMaker
from shared.errors import NotFoundError, PermanentError
from shared.states import RenditionFormat

log = structlog.get_logger()

# A release of FHIR, as media types name it.
Release = Literal["4.3", "5.0"]
# Of a page, so that it stays small and comes soon; the others are named by their number.
MAX_PICTURES = 8
PAGE_SIDE = 320
NO_LANGUAGE = ("",)


@dataclass(frozen=True)
class Material:
    """A source, and pictures of its heat maps, made once however many documents show them."""

    source: Source
    maker: PictureMaker

    @cached_property
    def pictures(self) -> Mapping[int, bytes]:
        """The first few as PNG by the map's id; one that cannot be made is left out, and the page says so."""
        made = {}
        for heat_map_id, wanted in itertools.islice(self.source.pictures.items(), MAX_PICTURES):
            try:
                made[heat_map_id] = self.maker.make(replace(wanted, side=PAGE_SIDE))
            except (PermanentError, NotFoundError) as error:
                log.warning("picture_not_made", heat_map=heat_map_id, error=type(error).__name__)
        return made

    @property
    def is_whole(self) -> bool:
        """No picture that a page has room for is missing."""
        return len(self.pictures) == min(len(self.source.pictures), MAX_PICTURES)


@dataclass(frozen=True)
class Format:
    """How a document is named and made; `make` takes a language of `languages`."""

    media_type: str
    suffix: str
    languages: tuple[str, ...]
    make: Callable[[Material, str], bytes]


def _html(material: Material, language: str) -> bytes:
    page = page_of(material.source, material.pictures.keys(), words_in(language))
    return make_html(page, material.pictures)


def _pdf(material: Material, language: str) -> bytes:
    from api.documents.pdf import make_pdf

    words = words_in(language)
    page = page_of(material.source, material.pictures.keys(), words)
    made_at = datetime.fromisoformat(material.source.document["version"]["created_at"])
    return make_pdf(page, material.pictures, words, made_at)


def _sr(material: Material, _: str) -> bytes:
    from api.documents.sr import make_sr

    return make_sr(material.source)


def _secondary_captures(material: Material, _: str) -> bytes:
    return make_secondary_captures(material.source, material.maker)


def _fhir(release: Release) -> Callable[[Material, str], bytes]:
    def make(material: Material, _: str) -> bytes:
        from api.documents.fhir import make_fhir

        return make_fhir(material.source, release)

    return make


def _fhir_type(release: Release) -> str:
    return f"application/fhir+json; fhirVersion={release}"


FORMATS: dict[RenditionFormat, Format] = {
    RenditionFormat.HTML: Format("text/html", "html", LANGUAGES, _html),
    RenditionFormat.PDF: Format("application/pdf", "pdf", LANGUAGES, _pdf),
    RenditionFormat.SR: Format("application/dicom", "sr.dcm", NO_LANGUAGE, _sr),
    RenditionFormat.SC: Format("application/zip", "sc.zip", NO_LANGUAGE, _secondary_captures),
    RenditionFormat.FHIR_R4B: Format(_fhir_type("4.3"), "r4b.json", NO_LANGUAGE, _fhir("4.3")),
    RenditionFormat.FHIR_R5: Format(_fhir_type("5.0"), "r5.json", NO_LANGUAGE, _fhir("5.0")),
}
