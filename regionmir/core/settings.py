"""Settings: from `REGIONMIR_*`, then `regionmir.toml`, then defaults; every value knows where it came from."""

import os
import secrets
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from regionmir.core.anatomy import Anatomy, anatomy_by_short
from regionmir.core.errors import ConfigurationError, InvalidAETitle, UnknownAnatomy
from regionmir.core.identifiers import parse_ae_title
from regionmir.core.keeping import StoragePolicy
from regionmir.core.pseudonyms import Pseudonymizer
from regionmir.core.rejection import DEFAULT_RULES, Reaction, parse_rules
from regionmir.core.tls import TlsFiles

CONFIG_FILE_VARIABLE = "REGIONMIR_CONFIG"
DEFAULT_CONFIG_FILE = "regionmir.toml"
SECRET_FIELDS = frozenset({"database_url", "database_replica_url", "redis_url"})


def _ae(text: str) -> str:
    try:
        return parse_ae_title(text)
    except InvalidAETitle as error:
        raise ValueError(str(error)) from None  # what pydantic turns into its own error


def _regions(text: str) -> tuple[Anatomy, ...]:
    return tuple(anatomy_by_short(short) for short in text.upper().replace(",", " ").split())


def _region_names(text: str) -> str:
    try:
        return ",".join(anatomy.short for anatomy in _regions(text))
    except UnknownAnatomy as error:
        raise ValueError(str(error)) from None  # what pydantic turns into its own error


def _rules(text: str) -> str:
    try:
        parse_rules(text)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None  # what pydantic turns into its own error
    return text


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "regionmir"


Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """All settings of all processes. Times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="REGIONMIR_", extra="ignore", validate_default=True)

    ae_title: Annotated[str, AfterValidator(_ae)] = Field("REGIONMIR", description="our AE title")
    dicom_host: str = Field("127.0.0.1", description="address the DICOM node listens on")
    dicom_port: Port = Field(11112, description="port the DICOM node listens on")
    http_host: str = Field("127.0.0.1", description="address the web process listens on")
    http_port: Port = Field(8080, description="port the web process listens on")
    http_names: str = Field(
        "", description="names under which browsers may ask, separated by commas; needed beyond the loopback"
    )
    http_external_url: str = Field(
        "", description="address under which browsers reach us, as https://regionmir.example"
    )
    http_proxies: str = Field("", description="addresses or networks of reverse proxies in front, separated by commas")
    http_tls_certificate: Path | None = Field(None, description="certificate chain of the web process (PEM)")
    http_tls_key: Path | None = Field(None, description="private key of that certificate (PEM)")
    http_without_signin: bool = Field(False, description="listen beyond the loopback though nobody signs in")
    http_without_tls: bool = Field(False, description="listen beyond the loopback without TLS of our own")
    signin: Literal["none", "local", "oidc", "proxy"] = Field("none", description="how people sign in to the pages")
    session_idle_s: float = Field(1800.0, gt=0, description="a session not used for so long is over")
    session_absolute_s: float = Field(43200.0, gt=0, description="a session is over after this time, used or not")
    oidc_issuer: str = Field("", description="the OpenID provider, as https://login.example/realms/hospital")
    oidc_client_id: str = Field("", description="our name at the OpenID provider")
    oidc_client_secret_file: Path | None = Field(None, description="file with our secret there; unset: a public client")
    oidc_scopes: str = Field("openid profile", description="what we ask the OpenID provider for")
    oidc_name_claim: str = Field("preferred_username", description="claim that is shown as the name of a user")
    oidc_groups_claim: str = Field("groups", description="claim that lists the groups of a user")
    proxy_user_header: str = Field("X-Forwarded-User", description="header in which a proxy names the user")
    proxy_groups_header: str = Field("X-Forwarded-Groups", description="header with the groups, separated by commas")
    viewer_groups: str = Field("", description="groups that may sign in at all, separated by commas; empty: everybody")
    reader_groups: str = Field("", description="groups whose users are readers")
    admin_groups: str = Field("", description="groups whose users are admins")
    identified_groups: str = Field("", description="groups whose readers and admins see patients' identities")
    api_requests_per_minute: int = Field(600, ge=0, description="requests of each JSON API caller; 0: any number")
    max_upload_bytes: int = Field(2**26, ge=2**10, description="a larger film is refused by the JSON API")
    upload_keep_s: float = Field(3600.0, ge=60, description="how long an uploaded film may be asked about")
    anonymous_store: bool = Field(False, description="STOW-RS without sign-in, as C-STORE on the loopback")
    stow_max_bytes: int = Field(2**31, ge=2**20, description="a larger body of STOW-RS is refused")
    data_dir: Path = Field(default_factory=_default_data_dir, description="objects, local database, keys")
    s3_url: str = Field(
        "", description="bucket for the objects, s3://bucket/prefix?endpoint=https://host&region=name; empty: data_dir"
    )
    s3_copies_bytes: int = Field(10 * 2**30, ge=0, description="room in data_dir for copies of what is in the bucket")
    database_url: str | None = Field(None, description="PostgreSQL; unset: one of our own is started")
    redis_url: str | None = Field(None, description="Redis; unset: one of our own is started")
    database_replica_url: str | None = Field(None, description="a read replica of it, for similarity searches")
    database_pool: int = Field(0, ge=0, le=200, description="connections of a process to PostgreSQL; 0: its default")
    site_key_file: Path | None = Field(None, description="secret of the pseudonyms; unset: <data>/site.key")
    model: str | None = Field(None, description="folder of a model; unset: the shipped one")
    max_associations: int = Field(64, ge=1, description="associations accepted at once")
    network_timeout_s: float = Field(60.0, gt=0, description="an idle association is aborted after this time")
    acse_timeout_s: float = Field(30.0, gt=0, description="longest wait for an association message")
    max_associations_per_peer: int = Field(48, ge=1, description="associations accepted at once from one address")
    message_timeout_s: float = Field(1800.0, gt=0, description="longest time for one message to arrive")
    max_instance_bytes: int = Field(2**31, ge=2**20, description="a larger instance is refused")
    max_pixels: int = Field(100_000_000, ge=2**16, description="an image declaring more is not decoded")
    decode_timeout_s: float = Field(25.0, gt=0, description="an object whose decoding takes longer has failed")
    decode_memory_bytes: int = Field(2**32, ge=2**29, description="an object whose decoding takes more has failed")
    find_cap: int = Field(2000, ge=1, description="most answers to one ordinary C-FIND")
    default_k: int = Field(10, ge=1, le=200, description="hits of a similarity query")
    last_within_s: float = Field(900.0, gt=0, description="how old the study behind LAST may be")
    batch_size: int = Field(16, ge=1, le=256, description="films in one forward pass")
    lease_s: float = Field(60.0, ge=5, description="how long a worker holds a claimed row without renewing")
    delivery_lease_s: float = Field(180.0, ge=10, description="how long a sender holds a delivery without renewing")
    reconcile_s: float = Field(15.0, gt=0, description="pause between two reconciliations")
    quiet_s: float = Field(60.0, ge=0, description="a study without new instances for so long is complete")
    pacs_sync_s: float = Field(30.0, gt=0, description="pause between two looks at each Orthanc")
    pacs_hook_host: str = Field("127.0.0.1", description="address on which Orthanc tells us of deletions")
    pacs_hook_port: int = Field(0, ge=0, le=65535, description="port for that; 0: none, deletions are found later")
    result_regions: Annotated[str, AfterValidator(_region_names)] = Field(
        "", description="regions searched in each film of a complete study, such as RL,LL; empty: none"
    )
    torch_threads: int = Field(0, ge=0, description="CPU threads of the model; 0: all cores")
    generation_share: float = Field(
        0.5, gt=0, le=1, description="share of its time that an index worker takes for generations not in use"
    )
    dicom_tls_port: int = Field(0, ge=0, le=65535, description="second port of the DICOM node, for TLS; 0: none")
    dicom_tls_only: bool = Field(False, description="listen for DICOM over TLS only, not on dicom_port")
    dicom_tls_clients: Literal["verified", "any"] = Field(
        "verified", description="verified: a caller must show a certificate that we believe; any: it may also show none"
    )
    tls_certificate: Path | None = Field(None, description="our certificate with its chain, PEM")
    tls_key: Path | None = Field(None, description="key of our certificate, PEM, without a password")
    tls_authorities: Path | None = Field(None, description="certificates of the authorities that we believe, PEM")
    dicom_processes: int = Field(
        0, ge=0, le=64, description="processes of the DICOM node at its port; 0: one for each core, at most 8"
    )
    audit_syslog: str = Field(
        "", description="where audit messages go too: udp://host:514 or tls://host:6514; empty: nowhere"
    )
    storage_policy: StoragePolicy = Field(
        StoragePolicy.KEEP, description="what is kept of an object: keep, reduced, regions; an AE may have its own"
    )
    retention_days: int = Field(0, ge=0, description="days after which objects are removed; 0: never; an AE may differ")
    retention_hidden_days: int = Field(
        0, ge=0, description="days after which objects of a study that its PACS deleted are removed; 0: never"
    )
    retention_versions_days: int = Field(
        0, ge=0, description="days after which objects of replaced versions are removed; 0: never"
    )
    retention_query_log_days: int = Field(0, ge=0, description="days after which queries are forgotten; 0: never")
    retention_run_s: float = Field(86400.0, gt=0, description="pause between two runs of these rules")
    metrics_host: str = Field("127.0.0.1", description="address on which each process tells its figures")
    metrics_port: int = Field(
        0,
        ge=0,
        le=65000,
        description="port for that (node; index worker +1, light +2, node's others +3 on); 0: any, see <data>/run",
    )
    recall_probe_s: float = Field(3600.0, ge=0, description="pause between two probes of recall; 0: none")
    trace: bool = Field(False, description="send OpenTelemetry traces; where to is said by OTEL_* variables")
    pacs_deleted: Literal["hide", "delete"] = Field(
        "hide", description="what becomes of a study that the last PACS that had it deletes"
    )
    rejection_rules: Annotated[str, AfterValidator(_rules)] = Field(
        DEFAULT_RULES, description="what rejection notes do, by title: ignore, hide, hide-for-good or delete"
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="lowest level logged")
    log_json: bool | None = Field(None, description="log JSON lines; unset: when not on a terminal")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file()))

    @property
    def objects_dir(self) -> Path:
        return self.data_dir / "objects"

    @property
    def incoming_dir(self) -> Path:
        return self.data_dir / "incoming"

    @property
    def uploads_dir(self) -> Path:
        return self.data_dir / "uploads"

    @property
    def run_dir(self) -> Path:
        return self.data_dir / "run"

    @property
    def tls_files(self) -> TlsFiles:
        return TlsFiles(self.tls_certificate, self.tls_key, self.tls_authorities)

    def require_database_url(self) -> str:
        """Return the URL of PostgreSQL. Raises `ConfigurationError` with what to do."""
        if self.database_url is None:
            raise ConfigurationError("no database: start `regionmir up`, or set REGIONMIR_DATABASE_URL")
        return self.database_url

    def require_redis_url(self) -> str:
        """Return the URL of Redis. Raises `ConfigurationError` with what to do."""
        if self.redis_url is None:
            raise ConfigurationError("no broker: start `regionmir up`, or set REGIONMIR_REDIS_URL")
        return self.redis_url

    def searched_regions(self) -> tuple[Anatomy, ...]:
        """Return the regions that are searched in the films of complete studies."""
        return _regions(self.result_regions)

    @property
    def site_key_path(self) -> Path:
        return self.site_key_file or self.data_dir / "site.key"

    def reactions(self) -> dict[str, Reaction]:
        """Return what rejection notes do, by the code of their titles."""
        return parse_rules(self.rejection_rules)

    def pseudonymizer(self) -> Pseudonymizer:
        """Return the pseudonymizer under the site key, made at first use (mode 0600)."""
        return Pseudonymizer(_site_key(self.site_key_path))


def config_file() -> Path:
    """Return the path of the settings file, whether it exists or not."""
    return Path(os.environ.get(CONFIG_FILE_VARIABLE, DEFAULT_CONFIG_FILE))


def load_settings(**overrides: Any) -> Settings:
    """Return the settings in force. Raises `ConfigurationError`: one line that names the setting and the fault."""
    _refuse_unknown()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise ConfigurationError(
            f"{name} ({origin_of(name, overrides)}): {first['msg']}, not {str(first.get('input'))[:60]!r}"
            if name not in SECRET_FIELDS
            else f"{name}: {first['msg']}"
        ) from None
    except ValueError as error:  # a TOML file that does not parse
        raise ConfigurationError(f"{config_file()}: {error}") from None


def origin_of(name: str, overrides: dict[str, Any] | None = None) -> str:
    """Return where the value of setting `name` comes from: an option, a variable, the file, or the default."""
    if overrides and name in overrides:
        return "command line"
    variable = f"REGIONMIR_{name.upper()}"
    if any(v.upper() == variable for v in os.environ):
        return variable
    if name in _file_values():
        return str(config_file())
    return "default"


def _file_values() -> dict[str, Any]:
    path = config_file()
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _refuse_unknown() -> None:
    unknown = sorted(set(_file_values()) - set(Settings.model_fields))
    if unknown:
        raise ConfigurationError(f"{config_file()}: unknown setting {unknown[0]!r}; see `regionmir settings`")


def _site_key(path: Path) -> bytes:
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        return _make_site_key(path)
    except ValueError:
        raise ConfigurationError(f"{path}: the site key must be hexadecimal digits") from None
    if len(key) < 32:
        raise ConfigurationError(f"{path}: the site key must have at least 32 bytes")
    return key


def _make_site_key(path: Path) -> bytes:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = secrets.token_bytes(32)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)  # atomic, and loses to another process that was first
    except FileExistsError:
        return _site_key(path)
    finally:
        temporary.unlink()
    return key
