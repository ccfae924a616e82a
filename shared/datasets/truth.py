"""What is true of each instance, from the labels that decide; pure.

The most specific word counts: of an instance before its study's, of a study before its patient's.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from shared.model_contract import ModelContract
from shared.states import TargetLevel

Target = tuple[TargetLevel, int]
# Per finding of a contract: there, not there, or not known.
Truth = tuple[bool | None, ...]

UNKNOWN = "no label says what is in it"
SEVERAL = "labels say several classes at once"


@dataclass(frozen=True)
class Place:
    """Where an instance stands in the DICOM hierarchy, by row ids."""

    instance: int
    study: int
    patient: int

    @property
    def targets(self) -> tuple[Target, Target, Target]:
        """What a label may speak of to speak of this instance, the most specific first."""
        return (
            (TargetLevel.INSTANCE, self.instance),
            (TargetLevel.STUDY, self.study),
            (TargetLevel.PATIENT, self.patient),
        )


def truths_of(
    places: Iterable[Place],
    said: Mapping[Target, Mapping[str, bool]],
    contract: ModelContract,
    drove: Mapping[str, frozenset[int]],
    judging: Container[int] = (),
) -> dict[int, Truth]:
    """The truth of each instance, a value for each finding of the contract.

    A negative word on a study or patient speaks of all its instances. A positive one speaks of the only instance, of
    all where the package says so, or else of those that `drove` it: by finding, the instances at or over the threshold;
    of the others nothing is known. Of the patients who are `judging` it speaks of all: else a model would choose by
    what it is judged, and who it misses would not be there.
    """
    known = list(places)
    sizes = Counter(target for place in known for target in place.targets)
    spread = contract.learning.positives == "all"

    def truth(place: Place, finding: str) -> bool | None:
        for target in place.targets:
            value = said.get(target, {}).get(finding)
            if value is None:
                continue
            speaks_of_it = (
                not value
                or spread
                or place.patient in judging
                or sizes[target] == 1
                or place.instance in drove.get(finding, frozenset())
            )
            return value if speaks_of_it or target[0] is TargetLevel.INSTANCE else None
        return None

    return {place.instance: tuple(truth(place, one.code) for one in contract.findings) for place in known}


def class_of(contract: ModelContract, truth: Truth) -> tuple[int | None, str]:
    """The class to train on, or None and why there is none.

    Binary: 1 where the finding is there. Multiclass: the place among the findings of the one that is there, or of the
    background class where all others are known to be absent.
    """
    if contract.task == "binary":
        return (None, UNKNOWN) if truth[0] is None else (int(truth[0]), "")
    there = [at for at, value in enumerate(truth) if value]
    if len(there) > 1:
        return None, SEVERAL
    if there:
        return there[0], ""
    background = [at for at, finding in enumerate(contract.findings) if finding.background]
    others = [value for at, value in enumerate(truth) if at not in background]
    if background and all(value is False for value in others) and truth[background[0]] is not False:
        return background[0], ""
    return None, UNKNOWN


def class_names(contract: ModelContract) -> Sequence[str]:
    """What the classes are called, in order."""
    if contract.task == "binary":
        return ("negative", contract.findings[0].code)
    return tuple(finding.code for finding in contract.findings)
