"""The one settings object: frozen, read from the environment, every field described.

Names in the environment are the field's name in capitals after ``MARROW_FIND_``, save for
``DATABASE_URL`` and ``SECRET_KEY``, which keep the names that hosting platforms give them.
``docs/configuration.md`` lists each; a test compares the two.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from utils.errors import InvalidInput, StorageFailed

PROJECT_ROOT = Path(__file__).resolve().parents[1]
ENV_PREFIX = "MARROW_FIND_"
# Read by gunicorn.conf.py, before there is an application.
SERVER_VARIABLES = frozenset(
    f"{ENV_PREFIX}{name}" for name in ("BIND", "WORKERS", "LOG_LEVEL", "ACCESS_LOG")
)
LEAST_SECRET_CHARACTERS = 32
# OWASP Password Storage Cheat Sheet (2023): 600,000 rounds for PBKDF2-HMAC-SHA256.
LEAST_PASSWORD_ROUNDS = 600_000


class Settings(BaseSettings):
    """Everything an operator can decide. Relative folders are taken from the project's root."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    instance_dir: Path = Field(
        Path("instance"), description="Folder of the database, the pictures and the secret."
    )
    models_dir: Path = Field(Path("models"), description="Folder of the trained networks.")
    datasets_dir: Path = Field(
        Path("datasets"),
        description="Folder of labelled sets, each a folder of class folders, to train on.",
    )
    database_url: str = Field(
        "",
        validation_alias=AliasChoices("DATABASE_URL"),
        description="SQLAlchemy address; empty: an SQLite file in the instance folder.",
    )
    secret_key: str = Field(
        "",
        validation_alias=AliasChoices("SECRET_KEY"),
        repr=False,
        description="Signs the sessions; empty: made once and kept in the instance folder.",
    )
    testing: bool = Field(
        False, description="Only for the test suite: allows weak password hashes."
    )

    max_image_bytes: int = Field(
        10_000_000, ge=1_000, description="Largest accepted image file, bytes."
    )
    max_image_pixels: int = Field(
        50_000_000, ge=1_024, description="Largest accepted image, width times height."
    )
    max_images_per_upload: int = Field(
        50, ge=1, le=1_000, description="Most images in one submission."
    )
    working_pixels: int = Field(
        3_000_000, ge=100_000, description="Resolution cap of the watershed, pixels."
    )
    lowest_free_bytes: int = Field(
        200_000_000, ge=0, description="Free disk space below which nothing more is stored, bytes."
    )

    field_network: str = Field(
        "all4", pattern=r"^[a-z0-9_-]+$", description="Network that reads whole fields."
    )
    cell_network: str = Field(
        "marrow7",
        pattern=r"^[a-z0-9_-]+$",
        description="Network that reads single cells; without it cells are found and measured.",
    )
    engine_threads: int = Field(
        1, ge=1, le=64, description="Threads of the inference engine in each worker."
    )

    registration: Literal["approval", "open", "closed"] = Field(
        "approval", description="What becomes of accounts after the first one."
    )
    password_rounds: int = Field(
        LEAST_PASSWORD_ROUNDS, ge=1_000, description="PBKDF2-SHA256 rounds of new password hashes."
    )
    session_hours: float = Field(
        12, gt=0, le=168, description="Longest session from signing in, hours."
    )
    session_idle_minutes: float = Field(
        60, gt=0, description="Longest pause within a session, minutes."
    )
    login_attempts_per_minute: int = Field(
        5, ge=1, description="Sign-in attempts for one account in one minute."
    )
    login_attempts_per_address: int = Field(
        20, ge=1, description="Sign-in and registration attempts from one address in one minute."
    )
    verifications_per_minute: int = Field(
        30, ge=1, description="Report verifications from one address in one minute."
    )
    rate_limit_storage: str = Field(
        "memory://", description="Where attempts are counted; redis://… for several workers."
    )

    jobs_url: str = Field(
        "",
        repr=False,
        description="Where workers are woken: redis://…; empty: a file in the instance folder.",
    )
    job_workers: int = Field(1, ge=1, le=16, description="Jobs that one worker does at once.")
    job_attempts: int = Field(
        3, ge=1, le=20, description="Starts of a job whose worker dies, before it is given up."
    )
    job_stale_seconds: float = Field(
        60, ge=1, le=3_600, description="Silence after which a running job is taken back, seconds."
    )
    job_poll_seconds: float = Field(
        5, ge=0.1, le=600, description="Pause between two looks at the table of jobs, seconds."
    )
    job_stop_seconds: float = Field(
        8,
        ge=0,
        le=600,
        description="How long a worker told to stop goes on with a job, seconds.",
    )

    long_job_memory_bytes: int = Field(
        4_000_000_000,
        ge=100_000_000,
        description="Memory above which a training, sampling or its evaluation is ended, bytes.",
    )
    long_job_hours: float = Field(
        72, gt=0, le=10_000, description="Time after which such a job is ended, hours."
    )
    long_job_threads: int = Field(
        0, ge=0, le=256, description="Threads of such a job; 0: one for each core."
    )

    tutor_endpoint: str = Field(
        "", description="OpenAI-compatible address that writes the tutor's answers; empty: none."
    )
    tutor_network: str = Field(
        "", max_length=120, description="Name of the language network at that address."
    )
    tutor_key: str = Field("", repr=False, description="Bearer token for that address.")
    tutor_seconds: float = Field(
        20, ge=1, le=50, description="Longest wait for that address's whole answer, seconds."
    )
    tutor_questions_per_minute: int = Field(
        30, ge=1, description="Questions to the tutor from one person in one minute."
    )

    public_url: str = Field(
        "", description="Address under which others reach the site; printed in QR codes."
    )
    secure_cookies: bool | None = Field(
        None, description="Cookies over HTTPS only; unset: on where public_url is https."
    )
    trusted_proxies: int = Field(
        0, ge=0, le=5, description="Reverse proxies in front whose X-Forwarded headers count."
    )
    trusted_hosts: str = Field(
        "",
        description="Accepted host names, separated by commas; empty: that of public_url or any.",
    )
    database_busy_ms: int = Field(
        5_000, ge=0, le=60_000, description="Longest wait for SQLite's write lock, milliseconds."
    )
    laboratory_name: str = Field(
        "", max_length=120, description="Name of the laboratory in the head of each report."
    )

    @field_validator("instance_dir", "models_dir", "datasets_dir")
    @classmethod
    def _absolute(cls, folder: Path) -> Path:
        return PROJECT_ROOT / folder.expanduser()

    @field_validator("public_url", "tutor_endpoint")
    @classmethod
    def _address(cls, address: str) -> str:
        address = address.rstrip("/")
        if address and not address.startswith(("http://", "https://")):
            raise ValueError("an address that starts with http:// or https:// was expected")
        return address

    @field_validator("jobs_url")
    @classmethod
    def _queue(cls, address: str) -> str:
        if address and not address.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("an address that starts with redis:// or rediss:// was expected")
        return address

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, secret: str) -> str:
        if secret and len(secret) < LEAST_SECRET_CHARACTERS:
            raise ValueError(f"at least {LEAST_SECRET_CHARACTERS} characters were expected")
        return secret

    @field_validator("database_url")
    @classmethod
    def _driver(cls, address: str) -> str:
        # SQLAlchemy 2.1 changed what a bare postgresql:// means: the driver is written out.
        scheme, mark, rest = address.partition("://")
        if mark and scheme in {"postgres", "postgresql"}:
            return f"postgresql+psycopg://{rest}"
        return address

    @model_validator(mode="after")
    def _strong_hashes(self) -> Settings:
        if self.password_rounds < LEAST_PASSWORD_ROUNDS and not self.testing:
            raise ValueError(f"password_rounds: at least {LEAST_PASSWORD_ROUNDS} were expected")
        return self

    @model_validator(mode="after")
    def _named_network(self) -> Settings:
        if self.tutor_endpoint and not self.tutor_network:
            raise ValueError("tutor_network: the name of a network was expected beside the address")
        if self.tutor_network == "embedded":
            raise ValueError("tutor_network: “embedded” is what the tutor calls itself")
        return self

    @property
    def effective_database_url(self) -> str:
        """Address of the database, the embedded SQLite file where none was given."""
        return self.database_url or f"sqlite:///{self.instance_dir / 'marrow-find.sqlite3'}"

    @property
    def cookies_are_secure(self) -> bool:
        """Whether cookies are sent over HTTPS only."""
        if self.secure_cookies is not None:
            return self.secure_cookies
        return self.public_url.startswith("https://")

    @property
    def queue_file(self) -> Path:
        """File of the queue where no other place was given; it holds wake-ups and nothing else."""
        return self.instance_dir / "queue.sqlite3"

    @property
    def synthetic_dir(self) -> Path:
        """Folder of the generators: a folder for each training."""
        return self.instance_dir / "synthetic"

    @property
    def blobs_dir(self) -> Path:
        """Folder of the content-addressed pictures and documents."""
        return self.instance_dir / "blobs"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment; keyword arguments win.

    Raises
    ------
    InvalidInput
        If a value is not as expected. The sentence names the fields, never their values.
    """
    _refuse_unknown_variables()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'settings'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise InvalidInput(f"The settings cannot be used: {faults}.", code="settings") from None


def _refuse_unknown_variables() -> None:
    # A misspelt safeguard that is silently ignored would be worse than a start that fails.
    known = {
        f"{ENV_PREFIX}{name.upper()}"
        for name, field in Settings.model_fields.items()
        if field.validation_alias is None
    } | SERVER_VARIABLES
    unknown = sorted(n for n in os.environ if n.startswith(ENV_PREFIX) and n not in known)
    if unknown:
        raise InvalidInput(f"There is no setting called {', '.join(unknown)}.", code="settings")


def ensure_secret_key(settings: Settings) -> str:
    """Give the key that signs sessions; make and keep one (mode 0600) on the first start.

    Two workers that start at once agree on one key: it is written aside and linked into place,
    which fails for the second.
    """
    if settings.secret_key:
        return settings.secret_key
    place = settings.instance_dir / "secret_key"
    try:
        settings.instance_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not place.exists():
            _write_secret(place)
        secret = place.read_text(encoding="ascii").strip()
    except OSError as error:
        raise StorageFailed("The instance folder cannot be written or read.") from error
    if len(secret) < LEAST_SECRET_CHARACTERS:
        raise InvalidInput(
            f"The kept secret is too short: at least {LEAST_SECRET_CHARACTERS} characters were "
            "expected. Remove the file secret_key from the instance folder to have a new one made.",
            code="settings",
        )
    return secret


def _write_secret(place: Path) -> None:
    aside = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(secrets.token_urlsafe(48))
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):  # another worker was first; its key counts
            os.link(aside, place)
    finally:
        aside.unlink(missing_ok=True)
