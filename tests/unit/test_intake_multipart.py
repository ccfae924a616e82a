"""Multipart bodies as clients make them, cut anywhere, ended anywhere, malformed: whole files come out unchanged."""

import io
import itertools
from pathlib import Path

import httpx
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from api.intake.receive import receive
from api.intake.spooling import is_zip
from shared.config import Settings
from shared.errors import InvalidRequestError
from shared.reasons import Reason
from shared.storage import ContentStore
from tests.body_samples import CLOSE, FIELD, FORM, PART, RELATED, Chunks, contents, form, take
from tests.zip_samples import MIB, NOISE, make_zip


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "store")


def test_receive_understands_the_form_when_httpx_makes_it(store: ContentStore) -> None:
    sent = [("files", ("Schädel 頭.dcm", NOISE, "application/dicom")), ("files", ("b", b"b"))]
    request = httpx.Request("POST", "http://localhost/", data={"label": "x" * 100}, files=sent)

    files, error = take(store, request.read(), request.headers["Content-Type"])

    assert error is None
    assert contents(files) == [("Schädel 頭.dcm", NOISE), ("b", b"b")]


def test_receive_yields_every_part_when_the_body_is_multipart_related(store: ContentStore) -> None:
    part = b"--frontier\r\nContent-Type: application/dicom\r\n\r\n%s\r\n"

    files, error = take(store, b"\r\n" + part % b"one" + part % b"" + part % NOISE + CLOSE, RELATED)

    assert error is None
    assert contents(files) == [("", b"one"), ("", NOISE)]
    assert [file.reason for file in files] == [None, Reason.EMPTY_FILE, None]


def test_receive_takes_a_part_as_file_when_its_type_says_so(store: ContentStore) -> None:
    part = b'--frontier\r\nContent-Disposition: form-data; name="f"\r\nContent-Type: application/dicom\r\n\r\nx\r\n'

    files, _ = take(store, part + CLOSE, FORM)

    assert contents(files) == [("", b"x")]


def test_receive_says_empty_when_a_named_file_holds_no_bytes(store: ContentStore) -> None:
    files, error = take(store, form({"a": b"", "": b"", "b": b"x"}), FORM)

    assert error is None
    assert [(file.name, file.reason) for file in files] == [("a", Reason.EMPTY_FILE), ("b", None)]


def test_receive_cleans_the_name_when_it_holds_what_cannot_be_shown(store: ContentStore) -> None:
    names = {"a\x07\x1b[31m\u202eb\u2028c": "a[31mbc", "x" * 10_000: "x" * 255, "../../etc/passwd": "../../etc/passwd"}

    files, error = take(store, form(dict.fromkeys(names, b"x")), FORM)

    assert error is None
    assert [file.name for file in files] == list(names.values())
    assert all(file.blob and file.blob.path.parent == store.root / "tmp" for file in files)


@pytest.mark.parametrize("parameters", ["", "; boundary=", "; boundary=" + "x" * 201, '; boundary="ü"'])
def test_receive_refuses_at_once_when_the_boundary_is_missing_or_odd(store: ContentStore, parameters: str) -> None:
    with pytest.raises(InvalidRequestError, match="boundary"):
        receive(io.BytesIO(b"x"), "multipart/form-data" + parameters, store, Settings(data_dir=store.root))


DELIMITER = b"\r\n--frontier"
near_boundaries = st.integers(0, len(DELIMITER) - 1).map(lambda end: DELIMITER[:end])
awkward = st.lists(near_boundaries | st.binary(max_size=6), min_size=1, max_size=8).map(b"".join)
sendable = awkward.filter(lambda data: data and DELIMITER not in data and not is_zip(data))


@hypothesis_settings(max_examples=80, deadline=None)
@given(
    sent=st.lists(sendable, min_size=1, max_size=3),
    field=st.none() | st.binary(max_size=3),
    cuts=st.lists(st.integers(1, 40), max_size=60),
)
@example(sent=[b"\r\n--frontie", b"x"], field=None, cuts=[1] * 400)
def test_receive_yields_the_same_files_when_the_form_is_cut_anywhere(
    tmp_path_factory: pytest.TempPathFactory, sent: list[bytes], field: bytes | None, cuts: list[int]
) -> None:
    body = (FIELD % field if field is not None else b"") + form({str(n): data for n, data in enumerate(sent)})
    ends = [*itertools.takewhile(lambda end: end < len(body), itertools.accumulate(cuts)), len(body)]
    pieces = [body[start:end] for start, end in itertools.pairwise([0, *ends])]

    files, error = take(ContentStore(tmp_path_factory.mktemp("store")), Chunks(pieces), FORM)

    assert error is None
    assert contents(files) == [(str(n), data) for n, data in enumerate(sent)]


def test_receive_yields_whole_files_and_an_error_when_the_form_ends_anywhere(store: ContentStore) -> None:
    first, second = PART % (b"a", b"one"), PART % (b"b", make_zip({"x": b"1"}))
    body = first + second + CLOSE

    for cut in range(len(body) - len(b"\r\n")):
        files, error = take(store, body[:cut], FORM)

        whole = (cut >= len(first + b"--frontier\r\n")) + (cut >= len(first + second + b"--frontier--"))
        assert contents(files) == [("a", b"one"), ("b/x", b"1")][:whole]
        assert (error is None) == (whole == 2)
        assert error is None or "ended early" in str(error)


@pytest.mark.parametrize(
    "rest",
    [
        b"--frontier\r\nno header line\r\n\r\n",
        b"--frontier\r\nA: " + b"x" * 20_000,
        b"--frontier\r\n" + b"A: b\r\n" * 99,
    ],
)
def test_receive_yields_whole_files_and_an_error_when_a_part_is_malformed(store: ContentStore, rest: bytes) -> None:
    files, error = take(store, PART % (b"a", b"one") + rest, FORM)

    assert contents(files) == [("a", b"one")]
    assert "malformed" in str(error)


def test_receive_refuses_the_body_when_it_is_no_multipart_at_all(store: ContentStore) -> None:
    files, error = take(store, NOISE, FORM)

    assert files == []
    assert "malformed" in str(error)


@pytest.mark.parametrize("fields", [FIELD % bytes(MIB), FIELD % b"x" * 17_000], ids=["one large", "many small"])
def test_receive_refuses_the_form_when_its_fields_are_too_many_bytes(store: ContentStore, fields: bytes) -> None:
    files, error = take(store, PART % (b"a", b"one") + fields + form({"b": b"two"}), FORM)

    assert contents(files) == [("a", b"one")]
    assert "fields hold more than" in str(error)
