"""labels.csv: what is read, what is refused, and that the test split is not even kept."""

from pathlib import Path

import pytest

from shared.errors import InvalidRequestError
from worker.training.samples import Label, read_labels

HEADER = "patient_id,study_instance_uid,series_instance_uid,sop_instance_uid,label,split"


def write(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


def test_labels_are_those_of_train_and_val_only(tmp_path: Path) -> None:
    path = write(tmp_path, "a,1,2,1.1,1,train", "b,1,2,1.2,0,val", "c,1,2,1.3,1,test", "d,1,2,1.4,,holdout")

    labels = read_labels(path, 2)

    assert labels == [Label("a", "1.1", 1, "train"), Label("b", "1.2", 0, "val")]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a,1,2,1.2,1,test", "line 3: this patient is in two splits"),
        ("b,1,2,1.2,2,train", "line 3: the label must be a whole number of 0 to 1"),
        ("b,1,2,1.2,yes,val", "line 3: the label must be a whole number of 0 to 1"),
        ("b,1,2,1.2,,val", "line 3: the label must be a whole number of 0 to 1"),
    ],
)
def test_labels_are_refused_by_line_when_wrong(tmp_path: Path, row: str, words: str) -> None:
    path = write(tmp_path, "a,1,2,1.1,1,train", row)

    with pytest.raises(InvalidRequestError, match=words):
        read_labels(path, 2)


def test_labels_are_refused_when_a_column_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path, "a,1.1", header="patient_id,sop_instance_uid")

    with pytest.raises(InvalidRequestError, match=r"the column\(s\) label, split"):
        read_labels(path, 2)
