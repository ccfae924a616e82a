"""The model package: `model.json`, the contract with a data scientist, and the files it vouches for."""

import hashlib
import re
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.errors import InvalidModelPackageError
from shared.model_contract import GoldenSet, ModelContract, Weights
from shared.model_zip import CHUNK_BYTES, ModelZip, open_model_zip

__all__ = ["ModelContract", "PackageFiles", "accepts", "load_contract", "open_package", "package_digest"]

CONTRACT_FILE = "model.json"
WEIGHTS_FILE = "weights.keras"
ONNX_FILE = "weights.onnx"
GOLDEN_FILE = "golden.npz"
MAX_CONTRACT_BYTES = 1024 * 1024
MAX_SHOWN_ERRORS = 8

_OTHER_FILES = frozenset({WEIGHTS_FILE, ONNX_FILE, GOLDEN_FILE})
_LABEL = "the package"


def load_contract(text: str | bytes) -> ModelContract:
    """Read `model.json`; raises InvalidModelPackageError: which field, what came, what was expected."""
    if len(text) > MAX_CONTRACT_BYTES:
        raise InvalidModelPackageError(
            f"{CONTRACT_FILE} has {len(text)} bytes, more than the {MAX_CONTRACT_BYTES} allowed"
        )
    try:
        return ModelContract.model_validate_json(text, strict=True)
    except ValidationError as error:
        details = _root_causes(error.errors(include_url=False))
        shown = "; ".join(_sentence(detail) for detail in details[:MAX_SHOWN_ERRORS])
        more = f"; and {len(details) - MAX_SHOWN_ERRORS} more" if len(details) > MAX_SHOWN_ERRORS else ""
        raise InvalidModelPackageError(f"{CONTRACT_FILE}: {shown}{more}") from error


def _root_causes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without the complaints about a whole whose part is complained about too."""
    inner = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if not any(len(loc) > len(detail["loc"]) and loc[: len(detail["loc"])] == detail["loc"] for loc in inner)
    ]


def _sentence(detail: ErrorDetails) -> str:
    """One line of pydantic's errors: `findings.0.threshold: got 1.5; input should be ...`."""
    message = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:
        return message
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"{field}: is missing; add it"
    if detail["type"] == "extra_forbidden":
        return f"{field}: is not a field of {CONTRACT_FILE}; remove it or mend its name"
    return f"{field}: got {repr(detail['input'])[:80]}; {message[:1].lower()}{message[1:]}"


def accepts(
    contract: ModelContract,
    *,
    modality: str,
    sop_class_uid: str,
    body_part_examined: str,
    photometric_interpretation: str,
) -> str | None:
    """None when the model takes such an instance, else the sentence why not."""
    wanted = contract.accepts
    for noun, allowed, came in (
        ("modality", wanted.modalities, modality),
        ("SOP class", wanted.sop_class_uids, sop_class_uid),
        ("body part", wanted.body_parts, body_part_examined),
        ("photometric interpretation", wanted.photometric_interpretations, photometric_interpretation),
    ):
        if allowed is not None and came.strip().casefold() not in {value.strip().casefold() for value in allowed}:
            return f"The model takes {noun} {', '.join(allowed)}; this instance has {_shown(came)}."
    return None


def refusal_of(contract: ModelContract, row: Any) -> str | None:
    """`accepts`, asked of a row that has these columns of the index."""
    return accepts(
        contract,
        modality=row.modality,
        sop_class_uid=row.sop_class_uid,
        body_part_examined=row.body_part_examined,
        photometric_interpretation=row.photometric_interpretation,
    )


def _shown(value: str) -> str:
    """The value if it is code-like; free text in its place could be about a patient."""
    if not value.strip():
        return "none"
    return value if re.fullmatch(r"[A-Z0-9_ ]{1,16}|[0-9.]{1,64}", value) else "another value"


def package_digest(contract_bytes: bytes, contract: ModelContract) -> str:
    """sha256 of the package: of what its files are, however they were zipped."""
    lines = [f"{CONTRACT_FILE} {hashlib.sha256(contract_bytes).hexdigest()}\n"]
    lines += [f"{part.file} {part.sha256}\n" for part in _vouched_for(contract)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _vouched_for(contract: ModelContract) -> list[Weights | GoldenSet]:
    """The files beside the contract whose digests it states."""
    golden = contract.proof.golden
    return [contract.weights, golden] if golden else [contract.weights]


@dataclass(frozen=True)
class PackageFiles:
    """An opened package: the contract, and files that are verified while they stream."""

    contract: ModelContract
    contract_bytes: bytes
    digest: str
    source: Path
    max_bytes: int

    def stream(self, part: Weights | GoldenSet) -> Iterator[bytes]:
        """A file in chunks; raises InvalidModelPackageError at the end if it is not what the contract vouches for."""
        seen = hashlib.sha256()
        for chunk in self._chunks(part.file):
            seen.update(chunk)
            yield chunk
        if seen.hexdigest() != part.sha256:
            raise InvalidModelPackageError(
                f"{part.file} has sha256 {seen.hexdigest()}, {CONTRACT_FILE} says "
                f"{part.sha256}; the file was changed after the contract was written"
            )

    def _chunks(self, name: str) -> Iterator[bytes]:
        if self.source.is_dir():
            with (self.source / name).open("rb") as handle:
                while chunk := handle.read(CHUNK_BYTES):
                    yield chunk
            return
        with _open_zip(self.source, self.max_bytes) as archive:
            yield from archive.stream(name)


def open_package(path: Path, *, max_bytes: int) -> PackageFiles:
    """Open a package: a directory or a zip of `model.json` and the files that it names.

    Reads and checks the contract; the other files are checked by `PackageFiles.stream`.
    Raises InvalidModelPackageError.
    """
    contract_bytes, found = _read_directory(path, max_bytes) if path.is_dir() else _read_zip(path, max_bytes)
    contract = load_contract(contract_bytes)
    named = {part.file for part in _vouched_for(contract)}
    if missing := named - found:
        raise InvalidModelPackageError(f"{_LABEL} lacks {_listed(missing)}, which {CONTRACT_FILE} names; add it")
    if extra := found - named:
        raise InvalidModelPackageError(
            f"{_LABEL} holds {_listed(extra)}, which {CONTRACT_FILE} does not name; take it out, or name it"
        )
    return PackageFiles(contract, contract_bytes, package_digest(contract_bytes, contract), path, max_bytes)


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names))


def _read_directory(path: Path, max_bytes: int) -> tuple[bytes, frozenset[str]]:
    """The contract, and which of the other files there are."""
    if not (path / CONTRACT_FILE).is_file():
        raise InvalidModelPackageError(f"{_LABEL} lacks {CONTRACT_FILE}; it needs that and the weights that it names")
    found = frozenset(name for name in _OTHER_FILES if (path / name).is_file())
    total = sum((path / name).stat().st_size for name in {CONTRACT_FILE, *found})
    if total > max_bytes:
        raise InvalidModelPackageError(f"{_LABEL} has {total} bytes, more than the {max_bytes} allowed")
    with (path / CONTRACT_FILE).open("rb") as handle:
        return handle.read(MAX_CONTRACT_BYTES + 1), found


def _read_zip(path: Path, max_bytes: int) -> tuple[bytes, frozenset[str]]:
    with _open_zip(path, max_bytes) as archive:
        found = frozenset(archive.sizes) - {CONTRACT_FILE}
        return archive.read(CONTRACT_FILE, max_bytes=MAX_CONTRACT_BYTES), found


def _open_zip(path: Path, max_bytes: int) -> AbstractContextManager[ModelZip]:
    names = frozenset({CONTRACT_FILE})
    return open_model_zip(path, label=_LABEL, names=names, optional=_OTHER_FILES, max_bytes=max_bytes)
