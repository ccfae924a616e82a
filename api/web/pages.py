"""All pages; to import them puts them into the blueprint."""

from api.web import images, jobs, login, reports, reviews, tonight, worklist
from api.web.site import blueprint

__all__ = ["blueprint", "images", "jobs", "login", "reports", "reviews", "tonight", "worklist"]
