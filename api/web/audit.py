"""The audit trail: who did what, and whether its chain holds."""

from typing import Any

from flask import request

from api.web.inner import ask
from api.web.site import blueprint, page

AUDIT = "/api/v1/audit"
FILTERS = ("principal", "action", "object_kind", "object_id", "since", "cursor")
PAGE = 100
# So many seals are looked at while one waits for a page; `chain.js` goes on from there.
SEALS = 10_000
# Where an object of this kind has a page.
PLACES = {"job": "/jobs/"}


@blueprint.get("/admin/audit")
def get_audit() -> Any:
    """Every act, the newest first; what is looked for stands in the address."""
    chosen = {name: request.args.get(name, "").strip() for name in FILTERS}
    # A form gives a day; it begins in UTC, as all that is on record does.
    since = f"{chosen['since']}T00:00:00Z" if chosen["since"] else ""
    found = ask(AUDIT, limit=PAGE, **chosen | {"since": since})
    return page("audit.html", events=found["items"], next_cursor=found["next"], chosen=chosen, places=PLACES)


@blueprint.get("/admin/audit/chain")
def get_chain() -> Any:
    """The chain computed again, from its start or a seal on, as far as one page goes."""
    cursor = request.args.get("cursor", "").strip()
    return page("chain.html", chain=ask(f"{AUDIT}/chain", cursor=cursor, limit=SEALS), cursor=cursor, seals=SEALS)
