"""All pages; to import them puts them into the blueprint."""

from api.web import (
    admin,
    audit,
    bulk,
    guides,
    images,
    jobs,
    login,
    models,
    people,
    reports,
    reviews,
    schedules,
    submit,
    tonight,
    training,
    worklist,
)
from api.web.site import blueprint

__all__ = [
    "admin",
    "audit",
    "blueprint",
    "bulk",
    "guides",
    "images",
    "jobs",
    "login",
    "models",
    "people",
    "reports",
    "reviews",
    "schedules",
    "submit",
    "tonight",
    "training",
    "worklist",
]
