"""What must hold between the fields of a manifest: shapes follow from checkpoint, size, prompt; paths from `files`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dreamlite_mobile.components import COMPONENTS, Geometry, Size, TensorSpec, component_specs, size_text, sizes_text
from dreamlite_mobile.config import DreamLiteConfig

if TYPE_CHECKING:
    from dreamlite_mobile.bundle_programs import ComponentEntry, MethodEntry
    from dreamlite_mobile.bundle_programs import TensorSpec as Listed
    from dreamlite_mobile.bundle_schema import EmbeddingsEntry, Manifest, SizeEntry, StepTable

MANIFEST_NAME = "manifest.json"
DIGEST_NAME = "manifest.sha256"


def cross_checks(manifest: "Manifest") -> list[str]:
    """Every inconsistency of a manifest whose fields are well-formed one by one; empty when it is sound."""
    problems = [*_agreement(manifest), *_chip(manifest), *_modes(manifest), *_sizes(manifest)]
    if not problems:
        problems += _components(manifest)
    return [*problems, *_tables(manifest), *_paths(manifest)]


def referenced_files(manifest: "Manifest") -> set[str]:
    """Every path some part of the manifest reads."""
    paths = {manifest.prompt.tokenizer, *manifest.documents}
    for component in manifest.components.values():
        paths.update(component.files)
        for method in component.methods.values():
            paths.update((method.file, *method.then))
    if manifest.embeddings is not None:
        paths.add(manifest.embeddings.file)
    paths.update(size.step_embeddings.file for size in manifest.sizes if size.step_embeddings is not None)
    return paths


def parents(path: str) -> Iterator[str]:
    """The folders above a relative path, outermost first."""
    parts = path.split("/")
    return ("/".join(parts[:end]) for end in range(1, len(parts)))


def geometry(manifest: "Manifest", size: Size | None = None) -> Geometry:
    """What fixes every shape of the bundle, or of one of its sizes alone; a mode it lacks counts no tokens."""
    first, *further = [size] if size is not None else [one.sides for one in manifest.sizes]
    prompts = manifest.prompt.modes
    drops = {mode: prompt.drop_tokens for mode, prompt in prompts.items()}
    states = {mode: prompt.sequence_length for mode, prompt in prompts.items()}
    prefixes = {mode: prompt.prefix_tokens for mode, prompt in prompts.items()}
    return Geometry(
        config=manifest.checkpoint.dreamlite_config,
        width=first[0],
        height=first[1],
        drop_generate=drops.get("generate", 0),
        drop_edit=drops.get("edit", 0),
        states_generate=states.get("generate", 0),
        states_edit=states.get("edit", 0),
        prefix_generate=prefixes.get("generate", ()),
        prefix_edit=prefixes.get("edit", ()),
        further=tuple(further),
    )


def _agreement(manifest: "Manifest") -> Iterator[str]:
    """The sections written out for readers in other languages must repeat the checkpoint's configuration."""
    config = manifest.checkpoint.dreamlite_config
    for section, found, expected in _repeated(manifest, config):
        if found != expected:
            yield f"{section} is {found}, the checkpoint's configuration gives {expected}"


def _repeated(manifest: "Manifest", config: DreamLiteConfig) -> Iterator[tuple[str, object, object]]:
    prompt, vae, schedule = manifest.prompt, manifest.vae, manifest.scheduler
    vision, text = config.vision, config.text
    yield "prompt.state_width", prompt.state_width, text.hidden_size
    yield "prompt.image_token_id", prompt.image_token_id, text.image_token_id
    yield "prompt.vision_start_token_id", prompt.vision_start_token_id, text.vision_start_token_id
    yield "prompt.vision_end_token_id", prompt.vision_end_token_id, text.vision_end_token_id
    yield "prompt.vision.picture_size", prompt.vision.picture_size, vision.image_size
    yield "prompt.vision.patch_size", prompt.vision.patch_size, vision.patch_size
    yield "prompt.vision.merge_size", prompt.vision.merge_size, vision.spatial_merge_size
    yield "prompt.vision.mean", prompt.vision.mean, vision.image_mean
    yield "prompt.vision.std", prompt.vision.std, vision.image_std
    yield "prompt.vision.deepstack_count", prompt.vision.deepstack_count, len(vision.deepstack_layers)
    yield "vae.scale", vae.scale, config.vae.scale
    yield "vae.latent_channels", vae.latent_channels, config.vae.latent_channels
    yield "vae.scaling_factor", vae.scaling_factor, config.vae.scaling_factor
    yield "vae.shift_factor", vae.shift_factor, config.vae.shift_factor
    for name in type(config.scheduler).__dataclass_fields__:
        yield f"scheduler.{name}", getattr(schedule, name), getattr(config.scheduler, name)


def _chip(manifest: "Manifest") -> Iterator[str]:
    if (manifest.htp is not None) != (manifest.backend == "qnn"):
        yield f"htp is {'given' if manifest.htp else 'missing'} for backend {manifest.backend}"
    if (manifest.coreml is not None) != (manifest.backend == "coreml"):
        yield f"coreml is {'given' if manifest.coreml else 'missing'} for backend {manifest.backend}"
    if manifest.htp is not None and manifest.htp.soc != manifest.target:
        yield f"target is {manifest.target}, htp is for {manifest.htp.soc}"


def _modes(manifest: "Manifest") -> Iterator[str]:
    if len(set(manifest.modes)) != len(manifest.modes):
        yield f"modes {list(manifest.modes)} repeat"
    if set(manifest.prompt.modes) != set(manifest.modes):
        yield f"prompt.modes has {sorted(manifest.prompt.modes)}, modes has {sorted(manifest.modes)}"


def _sizes(manifest: "Manifest") -> Iterator[str]:
    scale, seen = manifest.vae.scale, set[Size]()
    for size in manifest.sizes:
        name = size_text(size.sides)
        if size.sides in seen:
            yield f"size {name} is there twice"
        seen.add(size.sides)
        if size.width % scale or size.height % scale:
            yield f"size {name} is not a multiple of vae.scale {scale}"
        if manifest.scheduler.default_steps not in size.sigmas:
            yield f"sigmas of {name} lack the default of {manifest.scheduler.default_steps} steps"
        for steps, sigmas in size.sigmas.items():
            if len(sigmas) != steps + 1:
                yield f"sigmas of {name}, {steps} steps, hold {len(sigmas)} values, expected {steps + 1}"


def _components(manifest: "Manifest") -> Iterator[str]:
    specs = component_specs(geometry(manifest), manifest.modes)
    for name, component in manifest.components.items():
        if name not in specs:
            known = COMPONENTS if name not in COMPONENTS else tuple(specs)
            yield f"component {name!r} is not one of {', '.join(known)}"
            continue
        expected = specs[name].methods
        if set(component.methods) != set(expected):
            sizes = sizes_text(size.sides for size in manifest.sizes)
            yield f"{name} has methods {sorted(component.methods)}, expected for {sizes}: {sorted(expected)}"
            continue
        for method, entry in component.methods.items():
            yield from _tensors(f"{name}.{method} inputs", entry.inputs, expected[method].inputs)
            yield from _tensors(f"{name}.{method} outputs", entry.outputs, expected[method].outputs)
        yield from _component_files(name, component)


def _tensors(where: str, found: "Sequence[Listed]", expected: Sequence[TensorSpec]) -> Iterator[str]:
    listed = [f"{spec.name} {list(spec.shape)}" for spec in found]
    wanted = [f"{spec.name} {list(spec.shape)}" for spec in expected]
    if listed != wanted:
        yield f"{where} are {', '.join(listed)}; its size and prompt need {', '.join(wanted)}"


def _component_files(name: str, component: "ComponentEntry") -> Iterator[str]:
    for method, entry in component.methods.items():
        for file in (entry.file, *entry.then):
            if file not in component.files:
                yield f"{name}.{method} reads {file!r}, which {name}.files does not list"
        if entry.shards:
            yield from _shards(f"{name}.{method}", entry)


def _shards(where: str, entry: "MethodEntry") -> Iterator[str]:
    """A chain must take only what is there by then, and end with what the method gives."""
    programs = 1 + len(entry.then)
    if len(entry.shards) != programs:
        yield f"{where} has {programs} programs and describes {len(entry.shards)} shards"
    known: dict[str, tuple[tuple[int, ...], str]] = {spec.name: (spec.shape, spec.dtype) for spec in entry.inputs}
    for index, shard in enumerate(entry.shards, 1):
        for spec in shard.inputs:
            if known.get(spec.name) != (spec.shape, spec.dtype):
                yield f"{where}: shard {index} takes {spec.name!r}, which nothing before it gives in that form"
        known |= {spec.name: (spec.shape, spec.dtype) for spec in shard.outputs}
    for wanted in entry.outputs:
        if known.get(wanted.name) != (wanted.shape, wanted.dtype):
            yield f"{where}: no shard gives its output {wanted.name!r} in that shape and dtype"


def _tables(manifest: "Manifest") -> Iterator[str]:
    embeddings, config = manifest.embeddings, manifest.checkpoint.dreamlite_config
    for size in manifest.sizes:
        yield from _step_table(manifest, size, config.unet.time_embed_dim)
    if "text_encoder" in manifest.components and embeddings is None:
        yield "text_encoder needs the embeddings table"
    if embeddings is not None:
        found, expected = (embeddings.rows, embeddings.columns), (config.text.vocab_size, config.text.hidden_size)
        if found != expected:
            yield f"embeddings are {found[0]} x {found[1]}, expected {expected[0]} x {expected[1]}"
        if manifest.prompt.pad_token_id >= embeddings.rows:
            yield f"prompt.pad_token_id {manifest.prompt.pad_token_id} is outside the embeddings table"
        yield from _table_bytes(manifest, "embeddings", embeddings)
    files = [size.step_embeddings.file for size in manifest.sizes if size.step_embeddings is not None]
    if len(set(files)) != len(files):
        yield f"two sizes name one step_embeddings file: {', '.join(files)}"


def _step_table(manifest: "Manifest", size: "SizeEntry", columns: int) -> Iterator[str]:
    table = size.step_embeddings
    if table is None:
        if "unet" in manifest.components:
            yield f"unet needs the step_embeddings table of size {size_text(size.sides)}"
        return
    if table.columns != columns:
        yield f"step_embeddings have {table.columns} columns, expected {columns}"
    yield from _table_bytes(manifest, "step_embeddings", table)


def _table_bytes(manifest: "Manifest", label: str, table: "StepTable | EmbeddingsEntry") -> Iterator[str]:
    entry = manifest.files.get(table.file)
    if entry is not None and entry.bytes != table.nbytes:
        yield f"{label} file {table.file} holds {entry.bytes} bytes, its rows and columns need {table.nbytes}"


def _paths(manifest: "Manifest") -> Iterator[str]:
    listed, used = set(manifest.files), referenced_files(manifest)
    for path in sorted(used - listed):
        yield f"{path!r} is used but not listed in files"
    for path in sorted(listed - used):
        yield f"{path!r} is listed in files but nothing uses it"
    seen: dict[str, str] = {}
    for path in sorted(listed):
        other = seen.setdefault(path.casefold(), path)
        if other != path:
            yield f"{path!r} and {other!r} are one file where case is ignored"
        if path.casefold() in (MANIFEST_NAME, DIGEST_NAME):
            yield f"{path!r} is the manifest itself"
        yield from (
            f"{parent!r} is listed both as a file and as a folder" for parent in parents(path) if parent in listed
        )
