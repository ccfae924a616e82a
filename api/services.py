"""What the views work with, made once per process from the settings."""

from dataclasses import dataclass, field
from threading import BoundedSemaphore

from flask import current_app
from sqlalchemy import Engine

from api.broker import BrokerWatch
from api.dicomweb.renderer import Renderer
from api.limits import RequestRates
from api.pictures import PictureMaker
from shared.config import Settings
from shared.db import make_engine
from shared.dicom.read import HeaderReader
from shared.queue import HintSender, make_celery
from shared.storage import ContentStore
from shared.unit_of_work import UnitOfWork

EXTENSION = "overread"


@dataclass(frozen=True)
class Services:
    """Database, content store, hints, limited children that read headers and make pictures, room for uploads."""

    settings: Settings
    engine: Engine
    store: ContentStore
    hints: HintSender
    broker: BrokerWatch
    headers: HeaderReader
    pictures: PictureMaker
    renderer: Renderer
    uploads: BoundedSemaphore
    rates: RequestRates = field(default_factory=RequestRates)

    def unit_of_work(self) -> UnitOfWork:
        """A writing transaction that sends its hints after commit, but none to a broker that is away.

        Whether it is away is asked before the transaction begins: nothing is locked meanwhile.
        """
        return UnitOfWork(self.engine, None if self.broker.outage() else self.hints)


def make_services(settings: Settings) -> Services:
    """Connect nothing yet: engine, store and children open what they need when it is needed."""
    return Services(
        settings=settings,
        engine=make_engine(settings),
        store=ContentStore(settings.store_dir),
        hints=HintSender(make_celery(settings)),
        broker=BrokerWatch(settings.broker_url),
        headers=HeaderReader(settings),
        pictures=PictureMaker(settings),
        renderer=Renderer(settings),
        # Slow uploads must leave threads for short requests.
        uploads=BoundedSemaphore(max(1, settings.api_threads // 2)),
    )


def services() -> Services:
    """Those of the running application."""
    found: Services = current_app.extensions[EXTENSION]
    return found
