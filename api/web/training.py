"""A training run on its job's page, and the dataset snapshots that runs learn from."""

from collections import defaultdict
from typing import Any
from urllib.parse import quote

from flask import request

from api.web.charts import Plot, Point, Span, plot
from api.web.inner import Json, RefusedError, ask
from api.web.site import blueprint, me, page, words
from shared.states import Scope

DATASETS = "/api/v1/datasets"
PAGE = 50


@blueprint.get("/datasets")
def get_datasets() -> Any:
    """What training runs froze, the newest first."""
    chosen = {name: request.args.get(name, "") for name in ("model", "cursor")}
    found = ask(DATASETS, limit=PAGE, **chosen)
    return page("datasets.html", datasets=found["items"], next_cursor=found["next"], chosen=chosen)


@blueprint.get("/datasets/<string:digest>")
def get_dataset(digest: str) -> Any:
    """A snapshot: what each split holds, with examples, and what was left out."""
    path = f"{DATASETS}/{quote(digest, safe='')}"
    found = ask(path)
    return page("dataset.html", dataset=found, examples=_examples(path), may_read_list=Scope.OPERATE in me()["scopes"])


def _examples(path: str) -> Json | None:
    """By split and class; None where the list itself is gone."""
    try:
        found = ask(f"{path}/examples")
    except RefusedError as error:
        if error.status != 404:  # noqa: PLR2004 - the status itself is the case
            raise
        return None
    by_split: Json = defaultdict(lambda: defaultdict(list))
    for one in found["items"]:
        by_split[one["split"]][one["label"]].append(one)
    return {"of": by_split, "looked_at": found["looked_at"]}


def learning(training: Json | None) -> dict[str, Any]:
    """What the page of a training job draws of its run: losses and AUC by epoch, and the epoch that is kept so far."""
    if training is None or not training["history"]:
        return {"plots": [], "best": None}
    history = training["history"]
    best = next((one for one in history if one["epoch"] == history[-1]["best_epoch"]), None)
    return {"plots": _plots(history), "best": best}


def _plots(history: list[Json]) -> list[tuple[str, Plot]]:
    """With their titles; of the AUC none where val shows one class only."""
    say = words().say
    across = Span(1, max(2, history[-1]["epoch"]))
    losses = {
        say("training.on_train"): _by_epoch(history, "loss"),
        say("training.on_val"): _by_epoch(history, "val_loss"),
    }
    most = max(loss for points in losses.values() for _, loss in points)
    found = [(say("training.losses"), plot(losses, across, Span(0.0, most)))]
    if aucs := _by_epoch(history, "val_auc"):
        # Below a half an AUC is worse than chance: that is shown where it happens, and takes no room where not.
        low = 0.0 if min(auc for _, auc in aucs) < 0.5 else 0.5  # noqa: PLR2004 - chance
        found.append((say("training.auc"), plot({say("training.on_val"): aucs}, across, Span(low, 1.0))))
    return found


def _by_epoch(history: list[Json], name: str) -> list[Point]:
    return [(one["epoch"], one[name]) for one in history if one[name] is not None]
