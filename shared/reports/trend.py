"""Each finding over the patient's studies, every point with the model version that it is from. Pure."""

from typing import Any

Document = dict[str, Any]


def trend(previous: Document | None, document: Document) -> list[Document]:
    """Of each study, oldest first, what the model said of its findings.

    A study that this version of the model was not asked about keeps the point that it has in the report before.
    """
    version = document["model"]["version"]
    points = {one["study_instance_uid"]: _point(one, version) for one in document["studies"] if _is_known(one)}
    for point in previous.get("trend", []) if previous else []:
        points.setdefault(point["study_instance_uid"], point)
    return sorted(points.values(), key=lambda point: (point["study_date"], point["study_instance_uid"]))


def _is_known(study: Document) -> bool:
    return any(probability is not None for probability in study["probabilities"].values())


def _point(study: Document, version: int) -> Document:
    return {
        "study_instance_uid": study["study_instance_uid"],
        "study_date": study["study_date"],
        "model_version": version,
        "probabilities": study["probabilities"],
    }
