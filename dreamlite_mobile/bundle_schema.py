"""The published schema of a bundle's `manifest.json`, version 4. Unknown keys are refused, values are never coerced.

What spans several fields (shapes against the sizes, paths against the file list) is checked in `bundle_checks.py`
as part of the same validation: a `Manifest` that exists is consistent.

A bundle draws pictures of one size or more; the first is the default. The text and vision towers serve all of them.
The other components (`components.SIZED`) have methods for each: those of the first size are called `generate`, `edit`
and `forward`, those of a further one end with it, as in `generate_512x768` (`components.size_suffix`). All methods of
a component share its weights.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from dreamlite_mobile.bundle_checks import cross_checks
from dreamlite_mobile.bundle_config import config_from_json
from dreamlite_mobile.bundle_fields import (
    Backend,
    Colour,
    Count,
    Mode,
    Natural,
    RelativePath,
    Sha256,
    Sigmas,
    Steps,
    TableDtype,
    Text,
    Version,
)
from dreamlite_mobile.bundle_programs import ComponentEntry
from dreamlite_mobile.components import Size
from dreamlite_mobile.config import DreamLiteConfig
from dreamlite_mobile.strict import Strict

SCHEMA_VERSION = 4
MOST_SIZES = 16
"""Of one bundle."""
STEP_ROWS = 1275
"""Rows of a step-embedding table: one for every step of every schedule of 1 to 50 steps."""
TABLE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
SCALE_BYTES = 4
"""Of a row of int8: its float32 scale."""


class FileEntry(Strict):
    """Size and digest of one file of the bundle."""

    bytes: Natural
    sha256: Sha256


class ToolVersions(Strict):
    """What made the bundle; null where a tool took no part."""

    dreamlite_mobile: Text
    python: Text
    torch: Text
    executorch: Text | None = None
    torchao: Text | None = None
    onnx: Text | None = None
    onnxruntime: Text | None = None
    coremltools: Text | None = None


class CheckpointIdentity(Strict):
    """Where the weights came from. `sha256` identifies the weights themselves, wherever they lie.

    `config` is the whole `DreamLiteConfig` as nested objects.
    """

    source: Text
    revision: Text | None = None
    sha256: Sha256
    config: dict[str, JsonValue]

    @model_validator(mode="after")
    def _config_is_whole(self) -> Self:
        config_from_json(self.config)
        return self

    @property
    def dreamlite_config(self) -> DreamLiteConfig:
        """`config` as the dataclass."""
        return config_from_json(self.config)


class StepTable(Strict):
    """Raw little-endian rows; the row of step i of n is n*(n-1)/2 + i."""

    file: RelativePath
    rows: Literal[1275] = 1275
    columns: Count
    dtype: Literal["float32"] = "float32"
    row_rule: Literal["steps*(steps-1)/2 + i"] = "steps*(steps-1)/2 + i"

    @property
    def nbytes(self) -> int:
        return self.rows * self.columns * 4


class EmbeddingsEntry(Strict):
    """Raw little-endian token embeddings [rows, columns]; after those in int8 one float32 scale a row, by which its
    numbers are multiplied."""

    file: RelativePath
    rows: Count
    columns: Count
    dtype: TableDtype

    @property
    def nbytes(self) -> int:
        return self.rows * (self.columns * TABLE_BYTES[self.dtype] + (SCALE_BYTES if self.dtype == "int8" else 0))


class SizeEntry(Strict):
    """One picture size and what depends on it: sigma tables (steps -> steps + 1 values) and step embeddings."""

    width: Count
    height: Count
    sigmas: Annotated[dict[Steps, Sigmas], Field(min_length=1)]
    step_embeddings: StepTable | None = None

    @property
    def sides(self) -> Size:
        """Width and height in pixels."""
        return self.width, self.height


class SchedulerEntry(Strict):
    """Flow-match Euler with dynamic exponential shift; the tables in `sizes` follow from these constants."""

    num_train_timesteps: Count
    base_image_seq_len: Count
    max_image_seq_len: Count
    base_shift: float
    max_shift: float
    shift: float
    use_dynamic_shifting: bool
    default_steps: Steps


class ModePrompt(Strict):
    """How one mode words its prompt. `template` and `wording` each hold one `{}`: template({wording({prompt})}).

    `input_length` tokens go into the text encoder, the first `drop_tokens` states are dropped and
    `sequence_length` states come out, right-padded. `prefix_tokens`: the first tokens of every prompt, where the text
    encoder holds what they leave behind and takes only the embeddings of those after them; empty: it takes all.
    """

    template: Text
    wording: Text
    drop_tokens: Natural
    input_length: Count
    sequence_length: Count
    max_prompt_tokens: Count
    prefix_tokens: tuple[Natural, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.prefix_tokens and len(self.prefix_tokens) != self.drop_tokens:
            raise ValueError(f"prefix_tokens are {len(self.prefix_tokens)}, drop_tokens {self.drop_tokens}")
        if self.input_length - self.drop_tokens != self.sequence_length:
            raise ValueError(
                f"input_length {self.input_length} - drop_tokens {self.drop_tokens} is not "
                f"sequence_length {self.sequence_length}"
            )
        for field in ("template", "wording"):
            if getattr(self, field).count("{}") != 1:
                raise ValueError(f"{field} must hold exactly one '{{}}'")
        return self


class VisionEntry(Strict):
    """The static picture of the vision tower: LANCZOS to picture_size squared, (x/255 - mean)/std, patches."""

    picture_size: Count
    patch_size: Count
    merge_size: Count
    mean: Colour
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    deepstack_count: Count

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.picture_size % (self.patch_size * self.merge_size):
            raise ValueError(
                f"picture_size {self.picture_size} is not a multiple of patch_size * merge_size "
                f"{self.patch_size * self.merge_size}"
            )
        return self

    @property
    def num_patches(self) -> int:
        return (self.picture_size // self.patch_size) ** 2

    @property
    def num_tokens(self) -> int:
        return self.num_patches // self.merge_size**2


class PromptEntry(Strict):
    """Everything between a prompt and the text encoder. `state_width` is the width of embeddings and prompt states."""

    tokenizer: RelativePath
    state_width: Count
    modes: dict[Mode, ModePrompt]
    image_token_id: Natural
    vision_start_token_id: Natural
    vision_end_token_id: Natural
    pad_token_id: Natural
    vision: VisionEntry


class VaeEntry(Strict):
    """`scale` picture pixels per latent; decoder input is latents / scaling_factor + shift_factor."""

    scale: Count
    latent_channels: Count
    scaling_factor: Annotated[float, Field(gt=0)]
    shift_factor: float


class Needs(Strict):
    """Runtime versions that must match what compiled the programs."""

    executorch: Text | None = None
    onnxruntime: Text | None = None
    qnn: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] | None = None
    """The least QNN: a compiled context does not load on an older one."""
    ios: Version | None = None
    """The least iOS, and `macos` the least macOS: older ones do not know the operators or the compressed weights."""
    macos: Version | None = None


class CalibrationEntry(Strict):
    """What ranges of activations were taken from: pictures in each mode, steps of each; `sha256` of all inputs."""

    pictures: Count
    steps: Steps
    sha256: Sha256


class HtpEntry(Strict):
    """The Qualcomm chip that the programs were compiled for, and by what. `chipset` is QNN's number of the SoC.

    `shared_weights`: the methods of a component share theirs, which a phone can load and the emulator cannot.
    `calibration`: null where every component computes in fp16.
    """

    soc: Text
    chipset: Count
    architecture: Annotated[str, Field(pattern=r"^V\d+$")]
    vtcm_mb: Count
    qnn_build: Text
    shared_weights: bool
    calibration: CalibrationEntry | None = None


class CoreMLEntry(Strict):
    """How Core ML packages were made. Methods that share a package are its functions of the same name.

    `compute_units`: the processors they are written for, which an app asks for when it loads them.
    `package_limit_bytes`: the most weights that one package may hold.
    """

    compute_units: Literal["all", "cpu_and_neural_engine", "cpu_and_gpu", "cpu_only"]
    package_limit_bytes: Count


class Manifest(Strict):
    """The whole of `manifest.json`. `documents` are files for people (licence texts, reports) that no code reads."""

    schema_version: Annotated[int, Field(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)]
    tools: ToolVersions
    checkpoint: CheckpointIdentity
    backend: Backend
    target: Text
    sizes: Annotated[tuple[SizeEntry, ...], Field(min_length=1, max_length=MOST_SIZES)]
    modes: Annotated[tuple[Mode, ...], Field(min_length=1, max_length=2)]
    components: Annotated[dict[Text, ComponentEntry], Field(min_length=1)]
    prompt: PromptEntry
    embeddings: EmbeddingsEntry | None = None
    scheduler: SchedulerEntry
    vae: VaeEntry
    noise: Text
    licence: Text
    needs: Needs
    htp: HtpEntry | None = None
    coreml: CoreMLEntry | None = None
    documents: tuple[RelativePath, ...] = ()
    files: Annotated[dict[RelativePath, FileEntry], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            problems = cross_checks(self)
        except (IndexError, ArithmeticError) as error:  # no level, no head, nothing in a group
            raise ValueError(f"checkpoint.config describes no network: {error}") from error
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def size(self) -> SizeEntry:
        """The first size, which is the default."""
        return self.sizes[0]


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of `manifest.json`, as published."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema()}
