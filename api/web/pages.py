"""All pages; to import them puts them into the blueprint."""

from api.web import jobs, login, reports, reviews, tonight, worklist
from api.web.site import blueprint

__all__ = ["blueprint", "jobs", "login", "reports", "reviews", "tonight", "worklist"]
