"""All pages; to import them puts them into the blueprint."""

from api.web import admin, audit, images, jobs, login, models, reports, reviews, tonight, training, worklist
from api.web.site import blueprint

__all__ = [
    "admin",
    "audit",
    "blueprint",
    "images",
    "jobs",
    "login",
    "models",
    "reports",
    "reviews",
    "tonight",
    "training",
    "worklist",
]
