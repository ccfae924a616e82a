"""The plan, the ledger and the made films of a chaos run."""

import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from api.cli.chaos.films import Patient, zip_of
from api.cli.chaos.ledger import Done, Ledger, now
from api.cli.chaos.plan import Kind, kinds_on, plan
from api.cli.chaos.processes import children, children_running, is_dead, kill_tree, send
from api.cli.chaos.run import MOST_TIMES_LONGER, Wanted
from api.cli.chaos.stage import Cast
from shared.config import Settings
from shared.dicom.read import ReadLimits, read_header
from shared.oracle.__main__ import _acknowledged, _faults
from tests.system import eventually

CHILD = "import time; print('begun', flush=True); time.sleep(60)"
PARENT = f'import subprocess, sys; subprocess.run([sys.executable, "-c", "{CHILD}"])'


def test_plan_is_the_same_by_seed() -> None:
    def faults(seed: int) -> list[object]:
        return list(islice(plan(seed, list(Kind), 4.0), 50))

    assert faults(7) == faults(7) != faults(8)


def test_run_lasts_until_its_shards_are_submitted_and_not_for_ever() -> None:
    cast = Cast(seed=1, workers=1, schedulers=1, database="sqlite")
    some, any_number = Wanted(cast, 60.0, shards=100), Wanted(cast, 60.0)

    assert some.lasts(59.0, 100)
    assert not some.lasts(61.0, 100)
    assert some.lasts(61.0, 99)
    assert not some.lasts(60.0 * MOST_TIMES_LONGER, 99)
    assert any_number.lasts(59.0, 0)
    assert not any_number.lasts(61.0, 0)


def test_each_round_of_the_plan_has_every_kind_once() -> None:
    kinds = kinds_on("postgresql", has_disk=True)

    planned = list(islice(plan(3, kinds, 4.0), 2 * len(kinds)))

    assert {one.kind for one in planned[: len(kinds)]} == {one.kind for one in planned[len(kinds) :]} == set(kinds)
    assert all(2.0 <= one.wait_s <= 6.0 and 0.0 <= one.choice < 1.0 for one in planned)


def test_faults_that_cannot_be_had_are_not_planned() -> None:
    assert set(Kind) - set(kinds_on("sqlite", has_disk=True)) == {Kind.POSTGRESQL_KILLED}
    assert set(Kind) - set(kinds_on("postgresql", has_disk=False)) == {Kind.DISK_FULL}


def test_ledger_writes_what_the_oracle_reads(tmp_path: Path) -> None:
    ledger = Ledger()
    job, other = "0193a5c0-0000-7000-8000-000000000001", "0193a5c0-0000-7000-8000-000000000002"
    ledger.acknowledge("key-1", job, 3)
    ledger.acknowledge("key-1", job, 3)
    ledger.acknowledge("key-2", other, 2)
    done = Done(Kind.API_KILLED, now(), recovered_s=1.5)
    ledger.did(done)

    jobs, faults = ledger.write(tmp_path)

    assert [str(one) for one in _acknowledged(jobs)] == [job, other]
    (fault,) = _faults(faults)
    assert (fault.kind, fault.at, fault.recovered_s) == (done.kind, done.at, 1.5)
    assert (ledger.shards, ledger.two_answers()) == (5, 0)


def test_ledger_notices_when_one_key_got_two_jobs() -> None:
    ledger = Ledger()

    ledger.acknowledge("key", "one", 1)
    ledger.acknowledge("key", "two", 1)

    assert ledger.two_answers() == 1


def test_films_are_the_same_by_patient_and_differ_between_patients() -> None:
    first, second = Patient(1, 1, 2), Patient(1, 2, 2)

    assert zip_of([first]) == zip_of([first]) != zip_of([second])


def test_films_are_read_as_distinct_instances_of_their_patients(tmp_path: Path) -> None:
    limits = ReadLimits.of_settings(Settings())
    with zipfile.ZipFile(io.BytesIO(zip_of([Patient(9, 1, 3), Patient(9, 2, 1)]))) as archive:
        archive.extractall(tmp_path)

    headers = [read_header(path, limits) for path in sorted(tmp_path.rglob("*.dcm"))]

    assert len({header.sop_instance_uid for header in headers}) == 4
    assert len({header.study_instance_uid for header in headers}) == len({header.patient_id for header in headers}) == 2


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"begun\n"
        yield started
        kill_tree(started.pid)


def test_process_tree_is_dead_when_it_was_killed(process: "subprocess.Popen[bytes]") -> None:
    (child,) = children(process.pid)
    assert children_running(process.pid, CHILD) == [child]
    assert children_running(process.pid, "no.such.module") == []

    assert kill_tree(process.pid)

    assert process.wait() == -signal.SIGKILL
    eventually(lambda: is_dead(process.pid) and is_dead(child), 10.0, "both are dead")
    assert not is_dead(os.getpid())


def test_nothing_is_killed_when_the_process_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as done:
        done.wait()

    assert not kill_tree(done.pid)
    assert not send(done.pid, signal.SIGSTOP)
    assert children(done.pid) == []
