"""How far reviewers and the machine agree."""

from dataclasses import asdict
from typing import Any

from apiflask import APIBlueprint

from api.auth import auth
from api.schemas.quality import AgreementShown, QualityQuery, QualityShown
from api.services import services
from shared.db import reading
from shared.errors import InvalidRequestError
from shared.planning.plan import VERSION_NUMBER
from shared.reports.agreement import Agreement, Group, agreements
from shared.repositories.quality import signed_verdicts
from shared.states import Scope

blueprint = APIBlueprint("quality", __name__, url_prefix="/api/v1/quality", tag="Quality")


@blueprint.get("")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.input(QualityQuery, location="query")
@blueprint.output(QualityShown)
@blueprint.doc(summary="See how far reviewers agree with the machine")
def get_quality(query_data: QualityQuery) -> Any:
    """Of signed verdicts: what machine and reviewer say, Cohen's kappa, sensitivity and specificity.

    What was amended counts as it stands now, what was retracted not at all. The reviewers saw the machine's answer
    before they gave theirs, so that agreement is likely higher than between two who read apart.
    """
    name, colon, number = (query_data.model or "").partition(":")
    if colon and not VERSION_NUMBER.fullmatch(number):
        raise InvalidRequestError("The model's version is not a number; expected `name` or `name:version`.")
    version = int(number) if colon else None
    with reading(services().engine) as session:
        counts = signed_verdicts(session, name=name or None, version=version, since=query_data.since)
    return QualityShown(items=[_shown(group, found) for group, found in agreements(counts)])


def _shown(group: Group, found: Agreement) -> AgreementShown:
    return AgreementShown(
        model=group.model_name,
        model_version=group.model_version,
        finding=group.finding,
        reviewer=group.reviewer,
        **asdict(found),
        kappa=found.kappa,
        sensitivity=found.sensitivity,
        specificity=found.specificity,
    )
