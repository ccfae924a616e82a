"""What the documents of a report version are made of, read before any of them is made."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from api.pictures import Wanted
from api.views.heat_maps import explained_document
from shared.models import ModelVersion

# Another number where the same report would look otherwise: what was cached of an unsigned one is made again.
EDITION = 1


@dataclass(frozen=True)
class Source:
    """The version's document, whose rows of evidence name their heat maps, and what those maps' pictures are made of.

    `document["version"]` has its id, number and status, so a version can have documents before its row is committed.
    `pictures` are by the id of the heat map.
    """

    document: dict[str, Any]
    content_digest: str
    pictures: Mapping[int, Wanted]

    @property
    def digest(self) -> str:
        """sha256 of all that the documents depend on."""
        maps = {
            number: [wanted.map_path.rpartition("/")[2], wanted.position] for number, wanted in self.pictures.items()
        }
        whole = json.dumps([EDITION, self.content_digest, maps], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()


def source_of(session: Session, document: dict[str, Any], content_digest: str, version: ModelVersion) -> Source:
    """The source of a report version, of which there need not be a row yet."""
    explained, pictures = explained_document(session, document, version)
    return Source(explained, content_digest, pictures)
