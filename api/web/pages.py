"""All pages; to import them puts them into the blueprint."""

from api.web import admin, audit, jobs, login, models, tonight, training
from api.web.site import blueprint

__all__ = ["admin", "audit", "blueprint", "jobs", "login", "models", "tonight", "training"]
