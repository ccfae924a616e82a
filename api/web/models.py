"""Models and their versions: what each was shown to do, and which one serves."""

from itertools import groupby
from typing import Any
from urllib.parse import quote

from flask import request

from api.web.charts import Plot, Span, plot
from api.web.inner import Json, ask, change
from api.web.site import back_to, blueprint, me, page, words
from shared.states import MODEL_MOVES, ModelState, Scope

MODELS = "/api/v1/models"
VERSION = "/models/<string:name>/<int(max=999999999):number>"
WHOLE = Span(0.0, 1.0)
PROMOTABLE = frozenset(state for state, moves in MODEL_MOVES.items() if ModelState.CHAMPION in moves)


@blueprint.get("/models")
def get_models() -> Any:
    """Each model with its versions, the newest first."""
    found = ask(MODELS)["items"]
    models = [(name, list(versions)) for name, versions in groupby(found, lambda one: one["name"])]
    return page("models.html", models=models)


@blueprint.get(VERSION)
def get_model(name: str, number: int) -> Any:
    """All that is on record of a version."""
    base = _path(name, number)
    card = ask(f"{base}/card")
    model, may_operate = card["model"], Scope.OPERATE in me()["scopes"]
    promotions = ask(f"{MODELS}/{quote(name, safe='')}/promotions")["items"]
    return page(
        "model.html",
        card=card,
        model=model,
        gate=card["gate"],
        charts=_charts(card["gate"]),
        proofs=ask(f"{base}/engines")["items"],
        promotions=promotions,
        may_prove=may_operate,
        may_promote=may_operate and model["state"] in PROMOTABLE,
        may_roll_back=may_operate and model["state"] == ModelState.CHAMPION and len(promotions) > 1,
    )


@blueprint.post(f"{VERSION}/promote")
def post_promote(name: str, number: int) -> Any:
    """It serves from now on."""
    change("POST", f"{_path(name, number)}/promote", {"reason": request.form.get("reason", "")})
    return back_to(_page_of(name, number))


@blueprint.post(f"{VERSION}/rollback")
def post_rollback(name: str, number: int) -> Any:
    """What served before it serves again; on to that."""
    serving = change("POST", f"{_path(name, number)}/rollback", {"reason": request.form.get("reason", "")})
    return back_to(_page_of(name, serving["version"]))


@blueprint.post(f"{VERSION}/engines")
def post_engines(name: str, number: int) -> Any:
    """Its engines are proved again."""
    change("POST", f"{_path(name, number)}/engines")
    return back_to(_page_of(name, number))


def _path(name: str, number: int) -> str:
    return f"{MODELS}/{quote(name, safe='')}/versions/{number}"


def _page_of(name: str, number: int) -> str:
    return f"/models/{quote(name, safe='')}/{number}"


def _charts(gate: Json | None) -> dict[str, tuple[Plot, Plot]]:
    """Of each finding that was compared the ROC curves, and what share was positive at each probability."""
    if gate is None:
        return {}
    say = words().say
    names = {
        "candidate": say("model.this_version"),
        "champion": say("model.version_number", number=gate["champion"]),
    }
    return {
        one["code"]: (
            plot({name: one[who]["roc"] for who, name in names.items()}, WHOLE, WHOLE),
            plot({name: _reliability(one[who]) for who, name in names.items()}, WHOLE, WHOLE),
        )
        for one in gate["measures"].get("findings", ())
    }


def _reliability(shown: Json) -> list[tuple[float, float]]:
    return [(row["probability"], row["positive"]) for row in shown["reliability"]]
