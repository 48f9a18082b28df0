"""The tensor files of one checkpoint subfolder, single or sharded, against what the configuration expects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dreamlite_mobile.configfiles.keys import read_json_object
from dreamlite_mobile.errors import CheckpointError, ConfigError
from dreamlite_mobile.tensorfiles import FLOATS, TensorEntry, read_header

TensorIndex = dict[str, TensorEntry]

STEMS = ("diffusion_pytorch_model", "model")
"""What diffusers and transformers call their weights."""

IGNORED = frozenset({"lm_head.weight"})
"""Published in some exports of the text encoder; DreamLite never predicts a token."""


@dataclass(slots=True)
class Problems:
    """Everything wrong with a checkpoint's tensors, by kind, raised together."""

    kinds: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, line: str) -> None:
        self.kinds.setdefault(kind, []).append(line)

    def compare(self, name: str, entry: TensorEntry | None, shape: tuple[int, ...]) -> None:
        """Note what is wrong with the tensor stored for `name`, if anything."""
        if entry is None:
            self.add("missing", f"{name} {list(shape)}")
            return
        if entry.dtype not in FLOATS:
            self.add("wrong dtype", f"{name} is {entry.dtype}; supported: {', '.join(FLOATS)}")
        if entry.shape != shape:
            self.add("wrong shape", f"{name} is {list(entry.shape)}; expected {list(shape)}")

    def raise_if_any(self, path: Path) -> None:
        """Raise one CheckpointError with counts per kind and every line."""
        if not self.kinds:
            return
        counts = ", ".join(f"{len(lines)} {kind}" for kind, lines in self.kinds.items())
        lines = [f"  {kind}: {line}" for kind, found in self.kinds.items() for line in found]
        text = "\n".join(lines)
        raise CheckpointError(
            f"{path} does not hold usable tensors for its configuration: {counts}. Take the files again from where the "
            f"checkpoint came from, or the configuration that belongs to them.\n{text}"
        )


@dataclass(frozen=True, slots=True)
class Component:
    """One subfolder's tensors. `unread` holds names that an index promises in files that could not be read."""

    entries: TensorIndex
    unread: frozenset[str]
    complete: bool


def read_component(folder: Path, problems: Problems) -> Component:
    """Index the tensors of a subfolder; what is wrong with its files goes to `problems`.

    A single file takes precedence over an index, as upstream.
    """
    for stem in STEMS:
        if (folder / f"{stem}.safetensors").is_file():
            return _single(folder / f"{stem}.safetensors", problems)
    for stem in STEMS:
        if (folder / f"{stem}.safetensors.index.json").is_file():
            return _sharded(folder / f"{stem}.safetensors.index.json", problems)
    names = " or ".join(f"{stem}.safetensors[.index.json]" for stem in STEMS)
    others = sorted(file.name for file in folder.glob("*") if file.suffix in {".safetensors", ".bin", ".pt", ".ckpt"})
    found = f"; found only {', '.join(others[:5])}" if others else ""
    problems.add("missing file", f"{folder.name}/ holds no {names}{found}; save the checkpoint as plain safetensors")
    return Component({}, frozenset(), complete=False)


def _single(file: Path, problems: Problems) -> Component:
    try:
        header = read_header(file)
    except CheckpointError as error:
        problems.add("unreadable file", str(error))
        return Component({}, frozenset(), complete=False)
    return Component(header.entries, frozenset(), complete=True)


def _sharded(index: Path, problems: Problems) -> Component:
    weight_map = _weight_map(index, problems)
    if weight_map is None:
        return Component({}, frozenset(), complete=False)
    entries: TensorIndex = {}
    unread: set[str] = set()
    for shard in sorted(set(weight_map.values())):
        promised = {name for name, file in weight_map.items() if file == shard}
        file = index.parent / shard
        if not file.is_file():
            problems.add("missing file", f"{index.parent.name}/{shard}, which {index.name} names")
            unread |= promised
            continue
        try:
            header = read_header(file)
        except CheckpointError as error:
            problems.add("unreadable file", str(error))
            unread |= promised
            continue
        for name in sorted(promised - header.entries.keys()):
            problems.add("not in its shard", f"{index.parent.name}/{name}: {index.name} says {shard}")
            unread.add(name)
        for name, entry in header.entries.items():
            if name in promised:
                entries[name] = entry
            else:
                where = f"the index says {weight_map[name]}" if name in weight_map else "the index does not name it"
                problems.add("unexpected", f"{index.parent.name}/{name} in {shard}; {where}")
    return Component(entries, frozenset(unread), complete=True)


def _weight_map(index: Path, problems: Problems) -> dict[str, str] | None:
    """Tensor name -> shard. Shards must lie beside the index: an index from outside must not reach elsewhere."""
    try:
        weight_map = read_json_object(index).get("weight_map")
    except ConfigError as error:
        problems.add("unreadable file", str(error))
        return None
    if not isinstance(weight_map, dict):
        problems.add("unreadable file", f"{index} has no weight_map of tensor names to files")
        return None
    checked: dict[str, str] = {}
    for name, shard in weight_map.items():
        if (
            isinstance(shard, str)
            and shard.endswith(".safetensors")
            and "\0" not in shard
            and Path(shard).name == shard
        ):
            checked[name] = shard
        else:
            problems.add("unreadable file", f"{index} puts {name} into {shard!r}; supported: a .safetensors beside it")
    return checked


def check_tensors(
    folder: str, component: Component, expected: Mapping[str, tuple[int, ...]], problems: Problems
) -> None:
    """Compare names, shapes and dtypes; tensors of files that could not be read are not called missing as well."""
    if not component.complete:
        return
    for name, shape in expected.items():
        if name not in component.unread:
            problems.compare(f"{folder}/{name}", component.entries.get(name), shape)
    for name in sorted(component.entries.keys() - expected.keys() - IGNORED):
        problems.add("unexpected", f"{folder}/{name} {list(component.entries[name].shape)}")
