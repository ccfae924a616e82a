"""All pages; to import them puts them into the blueprint."""

from api.web import bulk, jobs, login, schedules, submit, tonight
from api.web.site import blueprint

__all__ = ["blueprint", "bulk", "jobs", "login", "schedules", "submit", "tonight"]
