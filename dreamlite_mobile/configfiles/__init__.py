"""A checkpoint's configuration files (diffusers layout), read into and written from the dataclasses of `config.py`.

Keys that are absent take the *upstream* class's default (diffusers 0.42, transformers 5.23), which is not always
DreamLite-mobile's. A key that changes upstream's arithmetic is either read or held to the values computed here.
Everything else is ignored, as upstream ignores it: names that begin with `_`, training and bookkeeping keys (dropout,
initializer_range, sample_size, dtype, ...), keys that `DreamLiteUNetModel` accepts and never passes on
(`resnet_skip_time_act`, `resnet_out_scale_factor`, `cross_attention_norm`, `mid_block_only_cross_attention`,
`upcast_attention`) and names unknown to the upstream class, which it drops with a warning. Whatever such a name might
mean to a later release would show in the tensor names and shapes, which are checked strictly.
"""

from pathlib import Path

from dreamlite_mobile.config import DreamLiteConfig
from dreamlite_mobile.configfiles.check import inconsistencies
from dreamlite_mobile.configfiles.diffusion import read_scheduler, read_unet, read_vae
from dreamlite_mobile.configfiles.keys import Section, read_json_object
from dreamlite_mobile.configfiles.towers import read_text, read_vision
from dreamlite_mobile.configfiles.write import write_config_files
from dreamlite_mobile.errors import ConfigError, unknown_name

__all__ = ["inconsistencies", "read_config", "read_model_index", "write_config_files"]

PIPELINES = ("DreamLiteMobilePipeline", "DreamLitePipeline")
CLASSES = {
    "text_encoder": ("Qwen3VLForConditionalGeneration",),
    "unet": ("DreamLiteUNetModel",),
    "vae": ("AutoencoderTiny",),
    "scheduler": ("FlowMatchEulerDiscreteScheduler",),
}
"""Component -> the network classes understood here, by their upstream names."""


def read_config(folder: Path) -> DreamLiteConfig:
    """The configuration of the checkpoint in `folder`.

    Raises:
        ConfigError: a file is missing or no JSON object, or settings are not supported or contradict each other; all
            of them are listed in the one error (file, key, value found, values supported).
    """
    read_model_index(folder)
    problems: list[str] = []
    text_encoder = _section(folder, "text_encoder/config.json", problems)
    config = DreamLiteConfig(
        unet=read_unet(_section(folder, "unet/config.json", problems)),
        text=read_text(text_encoder),
        vision=read_vision(text_encoder, _processor_section(folder, problems)),
        vae=read_vae(_section(folder, "vae/config.json", problems)),
        scheduler=read_scheduler(_section(folder, "scheduler/scheduler_config.json", problems)),
    )
    problems = problems or inconsistencies(config)
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise ConfigError(f"{folder}: {len(problems)} unsupported setting(s):{lines}")
    return config


def read_model_index(folder: Path) -> None:
    """Check that `model_index.json` names a DreamLite pipeline of known network classes."""
    file = folder / "model_index.json"
    index = read_json_object(file)
    pipeline = index.get("_class_name")
    if pipeline not in PIPELINES:
        raise ConfigError(f"{file}: {unknown_name('pipeline class', str(pipeline), PIPELINES)}")
    for component, known in CLASSES.items():
        entry = index.get(component)
        if not isinstance(entry, list) or len(entry) != 2:
            raise ConfigError(
                f'{file}: {component} = {entry!r}; supported: ["library", "class"] with class {" | ".join(known)}'
            )
        if entry[1] not in known:
            raise ConfigError(f"{file}: {unknown_name(f'{component} class', str(entry[1]), known)}")


def _section(folder: Path, name: str, problems: list[str]) -> Section:
    return Section(name, read_json_object(folder / name), problems)


def _processor_section(folder: Path, problems: list[str]) -> Section:
    """The image processor's settings: its own file, or nested in `processor_config.json` as transformers 5 saves it."""
    for subfolder in ("processor", "text_encoder"):
        nested = folder / subfolder / "processor_config.json"
        if nested.is_file():
            image_processor = Section(f"{subfolder}/{nested.name}", read_json_object(nested), problems)
            if "image_processor" in image_processor.values:
                return image_processor.child("image_processor")
        if (folder / subfolder / "preprocessor_config.json").is_file():
            return _section(folder, f"{subfolder}/preprocessor_config.json", problems)
    raise ConfigError(
        f"{folder}: no processor/preprocessor_config.json and no processor/processor_config.json with an "
        "image_processor; a checkpoint in diffusers layout has one"
    )
