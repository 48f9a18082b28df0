"""An opened bundle, ready to draw: its components by name, loaded when first needed."""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.pipeline import Pipeline
from dreamlite_mobile.prompt import PromptConfig, PromptEncoder
from dreamlite_mobile.runtime import Component
from dreamlite_mobile.runtime.load import load_component, load_embeddings, load_step_embeddings
from dreamlite_mobile.runtime.rounding import Rounding


@dataclass(slots=True)
class Session:
    """Components stay loaded until `close`, or with `frugal` only until another one is asked for.

    With `emulator`, a bundle for a Snapdragon runs on the HTP emulator. `rounding`: see `load_component`.
    """

    bundle: Bundle
    threads: int | None = None
    frugal: bool = False
    emulator: bool = False
    rounding: Rounding = "fp16"
    loaded: dict[str, Component] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def component(self, name: str) -> Component:
        """The component, loading it (and with `frugal` dropping the others) if it is not there.

        Raises:
            BundleError: the bundle lacks it, or this machine cannot run it.
        """
        if name not in self.loaded:
            if self.frugal:
                self.close()
            self.loaded[name] = load_component(
                self.bundle, name, threads=self.threads, emulator=self.emulator, rounding=self.rounding
            )
        return self.loaded[name]

    def close(self) -> None:
        """Unload everything; the session may be used again."""
        for component in self.loaded.values():
            component.unload()
        self.loaded.clear()

    def pipeline(self) -> Pipeline:
        """DreamLite over this bundle's files, in the size that it draws.

        Raises:
            BundleError: tables are missing, or the tokenizer does not give the lengths the programs were made for.
        """
        manifest, size = self.bundle.manifest, self.bundle.size
        return Pipeline(
            config=manifest.checkpoint.dreamlite_config,
            width=size.width,
            height=size.height,
            component=self.component,
            prompts=prompt_encoder(self.bundle),
            embeddings=load_embeddings(self.bundle),
            step_table=load_step_embeddings(self.bundle),
            skipped={mode: len(prompt.prefix_tokens) for mode, prompt in manifest.prompt.modes.items()},
            suffix=self.bundle.suffix,
        )


def prompt_encoder(bundle: Bundle) -> PromptEncoder:
    """The bundle's tokenizer with its templates; BundleError when the programs were made for other lengths."""
    manifest = bundle.manifest
    encoder = PromptEncoder(bundle.file(manifest.prompt.tokenizer), prompt_config(bundle))
    shapes = {"generate": encoder.generate_shape, "edit": encoder.edit_shape}
    prefixes = {"generate": encoder.generate_prefix, "edit": encoder.edit_prefix}
    for mode, prompt in manifest.prompt.modes.items():
        shape = shapes[mode]
        if (shape.drop, shape.states) != (prompt.drop_tokens, prompt.sequence_length):
            raise BundleError(
                f"{bundle.path}: the tokenizer gives {mode} a prefix of {shape.drop} and {shape.states} states, "
                f"but the programs were made for {prompt.drop_tokens} and {prompt.sequence_length}. Export it again."
            )
        if prompt.prefix_tokens and prompt.prefix_tokens != prefixes[mode]:
            raise BundleError(
                f"{bundle.path}: the tokenizer begins every {mode} prompt with other tokens than those whose keys and "
                "values the text encoder holds. Export it again."
            )
    return encoder


def prompt_config(bundle: Bundle) -> PromptConfig:
    """Templates, wording and limits as the manifest states them; what a mode it lacks would say is the default."""
    prompt, published = bundle.manifest.prompt, PromptConfig()
    generate, edit = prompt.modes.get("generate"), prompt.modes.get("edit")
    return PromptConfig(
        generate_template=generate.template if generate else published.generate_template,
        edit_template=edit.template if edit else published.edit_template,
        generate_wording=generate.wording if generate else published.generate_wording,
        edit_wording=edit.wording if edit else published.edit_wording,
        max_prompt_tokens=generate.max_prompt_tokens if generate else published.max_prompt_tokens,
        edit_text_tokens=edit.max_prompt_tokens if edit else published.edit_text_tokens,
        image_tokens=prompt.vision.num_tokens,
    )
