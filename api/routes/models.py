"""Register a model package; see the versions there are and what their engines can do; choose the champion."""

from typing import Any

from apiflask import APIBlueprint
from flask import request
from sqlalchemy.orm import Session

from api.auth import auth, principal
from api.intake.model import register_package
from api.schemas.operations import ChangeWanted, ModelList, ModelShown, PromotionList, ProofList
from api.schemas.training import GateShown
from api.services import services
from api.views.models import known_version, model_shown, promotion_shown
from api.views.training import gate_shown
from shared.db import reading
from shared.errors import ConflictError, NotFoundError, UnsupportedMediaTypeError
from shared.model_contract import ModelContract
from shared.models import ModelVersion
from shared.repositories.audit import add_audit_event
from shared.repositories.gates import decision_on
from shared.repositories.proofs import proofs_of, prove_again
from shared.repositories.registry import list_versions, promote, promotions_of, roll_back
from shared.states import ModelState, Scope

blueprint = APIBlueprint("models", __name__, url_prefix="/api/v1/models", tag="Models")

ZIP_TYPES = frozenset({"application/zip", "application/x-zip-compressed", "application/octet-stream"})


@blueprint.get("")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(ModelList)
@blueprint.doc(summary="List models")
def get_models() -> Any:
    """All registered versions and their standing."""
    with reading(services().engine) as session:
        return {"items": [model_shown(version) for version in list_versions(session)]}


@blueprint.post("")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.output(ModelShown, status_code=201)
@blueprint.doc(summary="Add a model package")
def post_model() -> Any:
    """A zip of model.json and the files that it names: weights.keras or weights.onnx, perhaps golden.npz.

    The same package again gives 200 and the version it has already.
    """
    if request.mimetype not in ZIP_TYPES:
        raise UnsupportedMediaTypeError(
            f"A model package is a zip: expected application/zip, got {request.mimetype or 'no media type'}."
        )
    version, is_new = register_package(services(), request.stream, principal().id)  # type: ignore[arg-type]
    return model_shown(version), 201 if is_new else 200


@blueprint.get("/<string:name>/versions/<int(max=999999999):number>/engines")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(ProofList)
@blueprint.doc(summary="Show what its engines were proved to do")
def get_engines(name: str, number: int) -> Any:
    """How far each engine is from the reference, how fast it is, and which one serves; empty before a worker saw it."""
    with reading(services().engine) as session:
        return {"items": _proofs(session, known_version(session, name, number))}


@blueprint.post("/<string:name>/versions/<int(max=999999999):number>/engines")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.output(ProofList, status_code=202)
@blueprint.doc(summary="Prove its engines again")
def post_engines(name: str, number: int) -> Any:
    """On every kind of hardware, on the images that are stored by now; the reference serves meanwhile."""
    with services().unit_of_work() as uow:
        version = known_version(uow.session, name, number)
        count = prove_again(uow.session, version.digest)
        add_audit_event(uow.session, principal().id, "engines.prove_again", "model_version", version.id, proofs=count)
        return {"items": _proofs(uow.session, version)}, 202


@blueprint.post("/<string:name>/versions/<int(max=999999999):number>/promote")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.input(ChangeWanted)
@blueprint.output(ModelShown)
@blueprint.doc(summary="Make a version the champion")
def post_promote(name: str, number: int, json_data: ChangeWanted) -> Any:
    """New jobs that name the model get this version; jobs already accepted keep theirs."""
    with services().unit_of_work() as uow:
        version = known_version(uow.session, name, number)
        if not promote(uow.session, version, principal().id, json_data.reason):
            raise ConflictError(
                f"The version is {version.state}; only a candidate, held or retired one can be promoted."
            )
        add_audit_event(uow.session, principal().id, "model.promote", "model_version", version.id)
        return model_shown(version)


@blueprint.post("/<string:name>/versions/<int(max=999999999):number>/rollback")
@blueprint.auth_required(auth, roles=[Scope.OPERATE.value])
@blueprint.input(ChangeWanted)
@blueprint.output(ModelShown)
@blueprint.doc(summary="Take the champion back", responses={409: "It is not the champion, or nothing served before it"})
def post_rollback(name: str, number: int, json_data: ChangeWanted) -> Any:
    """The version that served before it serves again, and is the answer.

    Jobs already accepted keep their version, and reports stay as they are.
    """
    with services().unit_of_work() as uow:
        version = known_version(uow.session, name, number)
        serving = roll_back(uow.session, version, principal().id, json_data.reason)
        if serving is None and version.state is ModelState.CHAMPION:
            raise ConflictError("No version served before this one: promote the one that is to serve.")
        if serving is None:
            raise ConflictError(f"The version is {version.state}; only the champion can be taken back.")
        add_audit_event(uow.session, principal().id, "model.rollback", "model_version", version.id, to=serving.version)
        return model_shown(serving)


@blueprint.get("/<string:name>/versions/<int(max=999999999):number>/gate")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(GateShown)
@blueprint.doc(summary="Show how it compared with the champion")
def get_gate(name: str, number: int) -> Any:
    """The latest decision on a trained version: what was measured on the holdout, and why it was held, if it was."""
    with reading(services().engine) as session:
        version = known_version(session, name, number)
        decision = decision_on(session, version)
        if decision is None:
            raise NotFoundError("No gate has judged this version: it was not trained here. Name one that was.")
        return gate_shown(version, decision)


@blueprint.get("/<string:name>/promotions")
@blueprint.auth_required(auth, roles=[Scope.READ.value])
@blueprint.output(PromotionList)
@blueprint.doc(summary="List what served when")
def get_promotions(name: str) -> Any:
    """Each time that a version began to serve, the last first."""
    with reading(services().engine) as session:
        found = promotions_of(session, name)
        if not found:
            raise NotFoundError("There is no such model.")
        return {"items": [promotion_shown(one) for one in found]}


def _proofs(session: Session, version: ModelVersion) -> list[dict[str, Any]]:
    tolerance = ModelContract.model_validate(version.contract).proof.tolerance
    return [vars(proof) | {"tolerance": tolerance} for proof in proofs_of(session, version.digest)]
