"""DICOM bombs end in a limited child: a named reason within seconds, and the service stays small and goes on."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from shared.config import Settings
from shared.dicom.read import HeaderReader
from shared.errors import PermanentError
from shared.model_package import load_contract
from shared.reasons import Reason
from tests import dicom_samples as samples
from tests.model_samples import contract_fields
from worker.inference.decode import Decoder

MIB = 1024 * 1024
CONTRACT = load_contract(json.dumps(contract_fields(side=16)))


@pytest.fixture(scope="module")
def services() -> Iterator[tuple[HeaderReader, Decoder]]:
    settings = Settings(parse_processes=1, decode_processes=1)
    reader, decoder = HeaderReader(settings), Decoder(settings)
    yield reader, decoder
    reader.close()
    decoder.close()


def fate_of(path: Path, services: tuple[HeaderReader, Decoder]) -> Reason | None:
    """As the services treat a file: the header at intake, the pixels in a worker; None when it gives frames."""
    reader, decoder = services
    try:
        reader.read(path)
        for _ in decoder.frames(path, CONTRACT):
            continue
    except PermanentError as error:
        return error.recorded_reason
    return None


@pytest.mark.parametrize("name", samples.hostile_files())
def test_bomb_ends_with_a_reason_and_its_neighbour_is_unharmed(
    tmp_path: Path, services: tuple[HeaderReader, Decoder], name: str
) -> None:
    bomb, neighbour = tmp_path / "bomb", tmp_path / "neighbour"
    bomb.write_bytes(samples.hostile_files()[name])
    neighbour.write_bytes(samples.dicom_bytes())
    rss_bytes = psutil.Process().memory_info().rss
    began = time.monotonic()

    fate = fate_of(bomb, services)

    assert fate is not None
    assert time.monotonic() - began < 10
    assert psutil.Process().memory_info().rss - rss_bytes < 50 * MIB
    assert fate_of(neighbour, services) is None


def test_bomb_of_many_elements_ends_when_its_time_is_up(tmp_path: Path, services: tuple[HeaderReader, Decoder]) -> None:
    elements = b"".join(
        group.to_bytes(2, "little") + element.to_bytes(2, "little") + b"LO\x00\x00"
        for group in range(0x3001, 0x3021, 2)
        for element in range(0x10000)
    )
    path = tmp_path / "bomb"
    path.write_bytes(samples.dicom_bytes(PixelData=None) + elements)

    with (
        closing(HeaderReader(Settings(parse_processes=1, parse_timeout_s=0.5))) as reader,
        pytest.raises(PermanentError) as caught,
    ):
        reader.read(path)

    assert caught.value.recorded_reason == Reason.PARSE_TIMEOUT
