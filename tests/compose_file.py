"""docker-compose.yml and Dockerfile as tests read them, and each service's command run without its container."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SECRETS_FOLDER = "/run/secrets"

# What `python` of an image would not find, because the image does not have it.
SITE = """
import sys

class Absent:
    hidden = frozenset({hidden!r})

    def find_spec(self, name, path=None, target=None):
        if name in self.hidden:
            raise ModuleNotFoundError(f"No module named {{name!r}} in this image", name=name)

sys.meta_path.insert(0, Absent())
"""


@dataclass(frozen=True)
class Image:
    """A target of the Dockerfile: its instructions in order, those of the stages it stands on first."""

    instructions: tuple[tuple[str, str], ...]

    def last(self, keyword: str) -> str:
        """The arguments of the last such instruction, which is the one that counts."""
        return [arguments for given, arguments in self.instructions if given == keyword][-1]

    @property
    def command(self) -> list[str]:
        return list(json.loads(self.last("CMD")))

    @property
    def health_check(self) -> list[str]:
        return list(json.loads(self.last("HEALTHCHECK").partition("CMD")[2]))

    @property
    def environment(self) -> dict[str, str]:
        given = [arguments for keyword, arguments in self.instructions if keyword == "ENV"]
        return dict(word.split("=", 1) for arguments in given for word in shlex.split(arguments))

    @property
    def extras(self) -> set[str]:
        """What pip is told to install of us."""
        installs = [arguments for keyword, arguments in self.instructions if keyword == "RUN"]
        return {
            extra
            for arguments in installs
            for named in re.findall(r"'\.\[([a-z,]+)\]'", arguments)
            for extra in named.split(",")
        }


@cache
def image(target: str) -> Image:
    """A target of the Dockerfile."""
    stages: dict[str, list[tuple[str, str]]] = {}
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        keyword, _, arguments = line.strip().partition(" ")
        if keyword == "FROM":
            parent, _, name = arguments.partition(" AS ")
            stages[name] = list(stages.get(parent, []))
        if keyword:
            stages[name].append((keyword, arguments.strip()))
    return Image(tuple(stages[target]))


def start_order() -> list[str]:
    """The services, each after those it depends on."""
    ordered: list[str] = []

    def add(name: str) -> None:
        for needed in SERVICES[name].get("depends_on", {}):
            add(needed)
        if name not in ordered:
            ordered.append(name)

    for name in SERVICES:
        add(name)
    return ordered


def setup_commands() -> list[str]:
    """The commands that the file's head tells its reader to run once, for the secrets."""
    told = re.findall(r"^#      (\S.*)$", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE)
    return [command for command in told if "secrets/" in command]


class Host:
    """Stands for the Docker host: volumes and secrets are folders of `folder`, other containers are on loopback."""

    def __init__(self, folder: Path, addresses: dict[str, str], api_port: int) -> None:
        self.folder = folder
        self._addresses = addresses
        self._api_port = api_port

    def environment(self, service: str) -> dict[str, str]:
        """What the service's process would see, and nothing of this process's own environment but the language."""
        spec = SERVICES[service]
        built = image(spec["build"]["target"])
        given = built.environment | {name: self._here(service, value) for name, value in spec["environment"].items()}
        return given | {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(self.folder / "nonexistent"),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "PYTHONPATH": str(self._site(built)),
            # The port inside a container is its own; here it is everybody's.
            "OVERREAD_API_HOST": "127.0.0.1",
            "OVERREAD_API_PORT": str(self._api_port),
        }

    def volume(self, name: str) -> Path:
        """Where a volume's files lie."""
        return self.folder / "volumes" / name

    def start(self, service: str) -> subprocess.Popen[bytes]:
        """Run the service's command."""
        spec = SERVICES[service]
        command = spec.get("command") or image(spec["build"]["target"]).command
        with self._log(service).open("ab") as log:
            return subprocess.Popen(
                command,
                env=self.environment(service),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, service: str, command: list[str]) -> tuple[int, str]:
        """Run a command in the service's container: its exit code and what it printed."""
        with self._log(service).open("ab") as log:
            done = subprocess.run(
                command,
                env=self.environment(service),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                timeout=60,
                check=False,
            )
        return done.returncode, done.stdout.decode()

    def log(self, service: str) -> str:
        """What it said."""
        return self._log(service).read_text()

    def _log(self, service: str) -> Path:
        return self.folder / f"{service}.log"

    def _here(self, service: str, value: str) -> str:
        """A value of the file with its defaults filled in, its folders and hosts replaced by those of this machine."""
        value = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        for mount in SERVICES[service].get("volumes", []):
            name, _, target = mount.partition(":")
            if target:
                value = value.replace(target, str(self.volume(name)))
        if value == SECRETS_FOLDER:
            value = str(self._secrets(service))
        for there, here in self._addresses.items():
            value = value.replace(there, here)
        return value

    def _secrets(self, service: str) -> Path:
        """A folder with those secrets that the service is given."""
        folder = self.folder / "mounted" / service
        folder.mkdir(parents=True, exist_ok=True)
        for name in SERVICES[service]["secrets"]:
            text = (self.folder / COMPOSE["secrets"][name]["file"]).read_text()
            for there, here in self._addresses.items():
                text = text.replace(there, here)
            (folder / name).write_text(text)
        return folder

    def _site(self, built: Image) -> Path:
        folder = self.folder / "sites" / "-".join(sorted(built.extras))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sitecustomize.py").write_text(SITE.format(hidden=sorted(absent_modules(frozenset(built.extras)))))
        return folder


@cache
def absent_modules(extras: frozenset[str]) -> frozenset[str]:
    """Modules installed here that an image with these extras of ours would not have."""
    present = _installed_with(extras)
    return frozenset(
        module
        for module, distributions in packages_distributions().items()
        if not any(canonicalize_name(one) in present for one in distributions)
    )


def _installed_with(extras: frozenset[str]) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(one) for one in project["dependencies"]]
    wanted += [Requirement(one) for extra in extras for one in project["optional-dependencies"][extra]]
    present, seen = {"overread"}, set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        present.add(name)
        if name == "overread":  # its extras as the file says now, not as it was installed
            own = [Requirement(one) for extra in requirement.extras for one in project["optional-dependencies"][extra]]
            wanted += own
            continue
        for text in requires(name) or []:
            needed = Requirement(text)
            asked = [{"extra": extra} for extra in (*requirement.extras, "")]
            if needed.marker is None or any(needed.marker.evaluate(one) for one in asked):
                wanted.append(needed)
    return present
