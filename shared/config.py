"""Settings: read once at start from OVERREAD_* variables, frozen, never read at import."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PrivateAttr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.origins import allowed_origins
from shared.states import Lane

MIB = 1024 * 1024
PREFIX = "OVERREAD_"


class Origin(StrEnum):
    """Where a setting's value came from; what a command line says is handed on as environment."""

    DEFAULT = "default"
    ENVIRONMENT = "environment"
    FILE = "file"


class Settings(BaseSettings):
    """Everything that can be set; each field is the variable OVERREAD_<NAME>.

    A value may also be a file's contents: the folder named by OVERREAD_SECRETS_DIR holds one file per variable.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    data_dir: Path = Field(Path("overread-data"), description="Where the embedded system keeps everything.")
    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite in data_dir.")
    database_timeout_s: float = Field(
        15.0, gt=0.0, description="Longest wait for the database: a connection, or SQLite's write lock."
    )
    broker_url: str = Field("", description="Valkey or Redis URL; empty: the embedded one's socket in data_dir.")
    store_dir: Path = Field(Path(), description="Folder of the content store; default: data_dir/store.")

    api_host: str = Field("127.0.0.1", description="Address that the API listens on.")
    api_port: int = Field(8484, description="Its port.")
    api_threads: int = Field(32, description="Requests that one API process works on at once.")
    site: str = Field("local", description="Issuer of patient identifiers that files do not name themselves.")
    admin_token_file: str = Field("", description="File that gets the first admin's token; empty: it is printed.")

    max_file_bytes: int = Field(2048 * MIB, description="Largest DICOM file accepted.")
    max_archive_bytes: int = Field(64 * 1024 * MIB, description="Largest total size of a zip's entries.")
    max_archive_entries: int = Field(200_000, description="Most entries of one zip.")
    max_archive_ratio: int = Field(200, description="Most times its own size that a zip may inflate to.")
    max_request_files: int = Field(200_000, description="Most files of one request.")
    max_json_bytes: int = Field(16 * MIB, description="Largest JSON request body.")
    max_inflated_bytes: int = Field(512 * MIB, description="Largest inflated data set (Deflated Explicit VR).")
    max_nesting: int = Field(64, description="Deepest nesting of sequences.")
    max_pixel_bytes: int = Field(2048 * MIB, description="Most bytes of decoded pixels of one instance.")
    max_frame_bytes: int = Field(512 * MIB, description="Most bytes of one decoded frame.")
    min_free_bytes: int = Field(256 * MIB, description="Below this much free disk, uploads get 507.")
    max_model_bytes: int = Field(4096 * MIB, description="Largest model package.")

    child_memory_bytes: int = Field(4096 * MIB, description="Address space of a limited child process.")
    parse_timeout_s: float = Field(10.0, description="A child that reads a header for longer is killed.")
    decode_timeout_s: float = Field(60.0, description="A child that decodes a frame for longer is killed.")
    parse_processes: int = Field(2, description="Children that read headers, of an API process; as many make pictures.")
    decode_processes: int = Field(2, description="Children that decode frames, of a worker.")

    shard_items: int = Field(64, ge=1, le=1000, description="Most items of a shard, and of small ones together.")
    batch_size: int = Field(32, ge=1, description="Most frames of an engine batch; a smaller one is filled up.")
    gpu_batch_size: int = Field(128, ge=1, description="The same where networks run on a GPU.")
    gpu_memory_share: float = Field(
        0.4, gt=0.0, le=1.0, description="Most of a GPU's memory that an engine process takes; a worker has two."
    )
    engine: Literal["fastest", "reference"] = Field(
        "fastest", description="Serve by the fastest engine that was proved, or always by the reference."
    )
    engine_cache_dir: Path = Field(Path(), description="Where compiled networks are kept; default: data_dir/engines.")
    commit_items: int = Field(16, description="Items committed together while a shard runs.")
    frames_memory_bytes: int = Field(256 * MIB, ge=1, description="Most memory for decoded frames not predicted yet.")
    worker_concurrency: int = Field(4, description="Shards in flight in one worker process.")
    lease_s: float = Field(30.0, description="A shard whose worker is silent this long is claimed again.")
    hang_s: float = Field(600.0, description="A lease is extended no more when a shard did not move for so long.")
    engine_timeout_s: float = Field(120.0, description="An engine that takes longer for a batch is killed.")
    engine_load_timeout_s: float = Field(300.0, description="An engine that takes longer to load a model is killed.")
    max_crashes: int = Field(3, description="What this many workers or engines were lost on is quarantined.")
    retry_backoff_s: float = Field(2.0, description="Wait after the first failure of a shard; doubles with each.")
    max_backoff_s: float = Field(300.0, description="Longest wait between two tries of a shard.")
    worker_lanes: str = Field("urgent,routine,background,training", description="Lanes that this worker serves.")
    weight_urgent: int = Field(16, ge=1, description="Of so many turns at the claim, the urgent lane gets these first.")
    weight_routine: int = Field(4, ge=1, description="The same of the routine lane.")
    weight_background: int = Field(1, ge=1, description="The same of the background lane: it never stands still.")
    checkpoint_every_s: float = Field(60.0, gt=0.0, description="A training run that is lost goes on from so far back.")
    max_open_items: int = Field(2_000_000, description="Most open instances of one token's jobs; then 429.")
    requests_per_minute: int = Field(6000, ge=1, description="Most requests of one token; then 429.")
    session_s: float = Field(12 * 3600.0, gt=0.0, description="A browser is logged in for so long at most.")
    logins_per_minute: int = Field(20, ge=1, description="Most tries to log in as one principal; then 429.")
    holdout_share: float = Field(
        0.2, ge=0.0, lt=1.0, description="Share of the patients that no model version ever trains on."
    )
    holdout_salt: str = Field(
        "overread", description="With it the hash of a patient says who is in the holdout; for ever, once a label came."
    )
    hint_interval_s: float = Field(2.0, description="Lanes with work and idle workers are hinted again after this.")
    duty_interval_s: float = Field(1.0, description="How often the scheduler looks.")
    idempotency_ttl_s: float = Field(24 * 3600.0, description="How long an Idempotency-Key is remembered.")

    webhook_targets: str = Field(
        "", description="Where webhooks may go: hosts (https) or origins, separated by commas; empty: nowhere."
    )
    webhook_private: bool = Field(False, description="Also to private, loopback and link-local addresses.")
    webhook_timeout_s: float = Field(10.0, gt=0.0, description="Longest that a receiver may take; to connect, half.")
    webhook_attempts: int = Field(12, ge=1, description="A notice that was sent in vain so often is a dead letter.")
    webhook_backoff_s: float = Field(60.0, gt=0.0, description="Wait after the first failure; doubles with each.")
    webhook_max_backoff_s: float = Field(6 * 3600.0, gt=0.0, description="Longest wait between two of them.")
    webhook_lease_s: float = Field(120.0, gt=0.0, description="Notices of a sender that is lost are sent again then.")

    fault_seed: int = Field(0, description="For `overread chaos` only: where chance begins.")
    fault_commit_error_rate: float = Field(0.0, ge=0.0, le=1.0, description="The same: commits that seem to fail.")
    fault_hint_loss_rate: float = Field(0.0, ge=0.0, le=1.0, description="The same: hints that are not sent.")
    fault_hint_double_rate: float = Field(0.0, ge=0.0, le=1.0, description="The same: hints that are sent twice.")
    fault_clock_error_s: float = Field(
        0.0, ge=0.0, description="The same: by so much, ahead or behind, a process's clock may be wrong."
    )

    _from_files: frozenset[str] = PrivateAttr(default=frozenset())

    @model_validator(mode="before")
    @classmethod
    def _fill_from_data_dir(cls, values: dict[str, object]) -> dict[str, object]:
        data_dir = Path(str(values.get("data_dir") or "overread-data")).resolve()
        places = {name: values.get(name) or place for name, place in _places(data_dir).items()}
        return dict(values) | {"data_dir": data_dir} | places

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.commit_items > self.shard_items:
            raise ValueError(f"commit_items is {self.commit_items}, more than shard_items {self.shard_items}: lower it")
        allowed_origins(self.webhook_targets)
        if self.webhook_lease_s < 2 * self.webhook_timeout_s:
            raise ValueError(
                f"webhook_lease_s is {self.webhook_lease_s:g}, less than twice webhook_timeout_s "
                f"{self.webhook_timeout_s:g}: raise it"
            )
        lanes = self.worker_lanes.split(",")
        if unknown := set(lanes) - set(Lane):
            raise ValueError(f"worker_lanes names {sorted(unknown)}; expected some of {', '.join(Lane)}")
        return self

    def origin(self, name: str) -> Origin:
        """Where its value came from; the default's, too, where somebody set it to that."""
        default = type(self).model_fields[name].default
        if name == "data_dir":
            default = default.resolve()
        if getattr(self, name) == _places(self.data_dir).get(name, default):
            return Origin.DEFAULT
        return Origin.FILE if name in self._from_files else Origin.ENVIRONMENT

    def environment(self) -> dict[str, str]:
        """The variables that give a child process these same settings; what is in files it reads there itself."""
        told = self.model_dump(exclude=set(self._from_files))
        return {f"{PREFIX}{name.upper()}": str(value) for name, value in told.items()}


def _places(data_dir: Path) -> dict[str, object]:
    """What lies in the data folder where it is not said to be elsewhere."""
    return {
        "database_url": f"sqlite:///{data_dir / 'overread.sqlite'}",
        "broker_url": f"redis+socket://{data_dir / 'run' / 'valkey.sock'}",
        "store_dir": data_dir / "store",
        "engine_cache_dir": data_dir / "engines",
    }


def load_settings(**overrides: object) -> Settings:
    """Read the environment once; `overrides` win over it. Secrets by file: OVERREAD_SECRETS_DIR."""
    import os

    secrets_dir = os.environ.get("OVERREAD_SECRETS_DIR") or None
    settings = Settings(_secrets_dir=secrets_dir, **overrides)  # type: ignore[arg-type]
    if secrets_dir:
        in_files = _names(one.name for one in Path(secrets_dir).iterdir() if one.is_file())
        settings._from_files = frozenset(in_files - _names(os.environ) - set(overrides))
    return settings


def _names(variables: Iterable[str]) -> set[str]:
    """The settings that variables, or files, of these names are of."""
    lowered = {variable.lower() for variable in variables}
    return {name for name in Settings.model_fields if f"{PREFIX}{name}".lower() in lowered}
