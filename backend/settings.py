"""All server settings in one documented class.

Defaults, then `config.toml` in the data folder, then environment (`SIGNET_*`), then the command line. Fixed at start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the checkout: where models/starter lies."""


class Settings(BaseSettings):
    """What the owner can set. Units are in the names."""

    model_config = SettingsConfigDict(env_prefix="SIGNET_", frozen=True, extra="forbid")

    data: Path = Field(ROOT / "data", description="Folder of all user data: models, outputs, database, keys, logs.")
    host: str = Field("127.0.0.1", description="Address to listen on; this version takes none but loopback.")
    port: int = Field(7860, ge=1, le=65535, description="TCP port of the studio.")
    database_url: str | None = Field(None, description="SQLAlchemy URL; SQLite in the data folder when empty.")
    allowed_hosts: tuple[str, ...] = Field((), description="Extra Host names that may be used besides loopback.")
    allowed_origins: tuple[str, ...] = Field((), description="Other web origins that may call the API from a browser.")
    offline: bool = Field(False, description="Refuse every outgoing connection of the studio and the engine.")

    default_model: str = Field("starter", description="Model used when a request names none.")
    model_folders: tuple[Path, ...] = Field(
        (),
        description="More folders with models, read in place: any folder, an A1111 or ComfyUI root, an "
        "extra_model_paths.yaml, or a Hugging Face cache.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where models run.")
    threads: int | None = Field(None, ge=1, description="CPU threads of the engine; all cores when empty.")
    precision: Literal["auto", "fp32", "bf16", "fp16", "fp8", "nf4", "int8", "int8-torchao"] = Field(
        "auto", description="Number format of the weights; what is not auto may need a package or a GPU, see the docs."
    )
    attention: Literal["auto", "flash", "efficient", "cudnn", "math"] = Field(
        "auto", description="Attention kernel of torch's SDPA; what it cannot do falls back to math."
    )
    stream_layers: bool = Field(
        False, description="Keep weights in main memory and fetch each layer as it runs: slow, for small GPUs."
    )
    model_memory_mb: int = Field(8192, ge=64, description="Weights kept in memory before the oldest model is unloaded.")

    max_side_px: int = Field(2048, ge=64, description="Largest width or height of a picture.")
    max_steps: int = Field(150, ge=1, description="Largest number of steps.")
    max_count: int = Field(8, ge=1, description="Most pictures in one request.")
    max_prompt_chars: int = Field(4000, ge=1, description="Longest prompt in characters.")
    max_waiting_jobs: int = Field(100, ge=1, description="Jobs that may wait before new ones are turned away.")
    upload_limit_mb: int = Field(32, ge=1, description="Largest picture file that is taken.")
    upload_limit_mpx: int = Field(64, ge=1, description="Largest picture that is decoded, in millions of pixels.")
    inputs_limit_mb: int = Field(2048, ge=16, description="Room for pictures people bring; the oldest go first.")
    disk_reserve_mb: int = Field(64, ge=0, description="New jobs are refused when less disk than this is free.")

    watermark: Literal["signet-tile", "signet-dct", "dwtDct", "dwtDctSvd", "rivaGan"] = Field(
        "signet-tile", description="Invisible mark in every picture. Only signet-tile survives crops and turns."
    )
    latent_mark: Literal["off", "gaussian-shading", "tree-ring"] = Field(
        "off", description="Mark in the noise that pictures grow from; changes which picture a seed gives."
    )
    nsfw_threshold: float = Field(0.8, gt=0, lt=1, description="OpenNSFW score from which a picture is flagged.")
    drawn_threshold: float = Field(
        0.8, gt=0, lt=1, description="nsfwjs score (drawn and explicit) from which a picture is flagged."
    )
    nudenet: bool = Field(
        False, description="Let NudeNet look at every picture too; needs the optional package nudenet==3.4.2, AGPL-3.0."
    )
    blur_previews: bool = Field(False, description="Blur live previews until the picture has been inspected.")
    training_use: Literal["notAllowed", "allowed"] = Field(
        "notAllowed", description="What the Content Credentials say about using the picture to train AI."
    )
    prompt_in_credentials: bool = Field(False, description="Write prompt and seed into the Content Credentials.")
    prompt_in_infotext: bool = Field(True, description='Write the A1111 "parameters" text into the file.')
    audit_texts: bool = Field(
        False, description="Keep prompts beside the audit log until they are erased; else only salted commitments."
    )
    audit_text_days: int = Field(
        0, ge=0, description="Erase texts of the audit log after so many days, at each start; 0 keeps them."
    )
    label_metadata: bool = Field(
        True, description="Write IPTC's source type and China's AIGC key into the file's metadata, before it is signed."
    )
    timestamp_url: str = Field(
        "",
        description="RFC 3161 time-stamp authority (https) asked for every picture; it learns a hash and your address. "
        "Not asked with offline.",
    )
    timestamp_optional: bool = Field(
        False, description="Let a picture leave without a time stamp if the authority fails, and record it."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much the log says.")

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.data / 'signet.db'}"

    @property
    def outputs(self) -> Path:
        return self.data / "outputs"

    @property
    def inputs(self) -> Path:
        return self.data / "inputs"

    @property
    def preprocessors(self) -> Path:
        """Weights of preprocessors that need some."""
        return self.data / "models" / "preprocessors"

    @property
    def styles_file(self) -> Path:
        return self.data / "styles.csv"

    @property
    def wildcards_folder(self) -> Path:
        return self.data / "wildcards"

    @property
    def opt_out_file(self) -> Path:
        """Names of people who do not want to be drawn here, one a line; the owner keeps it."""
        return self.data / "opt-out.txt"

    @property
    def policy_file(self) -> Path:
        """The owner's policy; changed in the studio, not by hand."""
        return self.data / "policy.toml"

    @property
    def audits(self) -> Path:
        """Bias audits, a folder for each."""
        return self.data / "audits"

    @property
    def keys(self) -> Path:
        return self.data / "keys"

    @property
    def trust(self) -> Path:
        """Certificates of the authorities whose signers count as trusted."""
        return self.data / "trust"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line (init) over environment over config.toml. The data folder itself comes from the first two."""
        named = {**env_settings(), **init_settings()}
        config = Path(named.get("data", ROOT / "data")) / "config.toml"
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config)
