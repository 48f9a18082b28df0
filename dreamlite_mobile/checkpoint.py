"""A DreamLite checkpoint: found, checked against its configuration, and filled into networks.

Opening reads configuration files and tensor headers only. The identity reads every byte once and finds what is not
finite. Loading maps the files into memory and converts one tensor at a time, so the weights are never there twice.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from threading import Event
from typing import Literal

import numpy as np
import torch
from torch import nn

from dreamlite_mobile.checkpointindex import Problems, TensorIndex, check_tensors, read_component
from dreamlite_mobile.config import DreamLiteConfig
from dreamlite_mobile.configfiles import read_config
from dreamlite_mobile.errors import CheckpointError, unknown_name
from dreamlite_mobile.files import Progress, sha256_file
from dreamlite_mobile.hub import resolve_checkpoint
from dreamlite_mobile.networks import SOURCES, expected_tensors
from dreamlite_mobile.tensorfiles import MappedFile, TensorEntry, finite, little_endian

__all__ = ["Checkpoint", "EmbeddingRows", "open_checkpoint", "resolve_checkpoint"]

TableDtype = Literal["float32", "float16", "bfloat16"]
EMBEDDING = "model.language_model.embed_tokens.weight"
Filled = Callable[[str, nn.Module], None]
"""Told of a module of a network, by its name, as soon as its own tensors are there."""
CHECKED_VALUES = 1 << 24
"""Values looked at in one go for infinities and NaN."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An opened checkpoint; every tensor of its configuration is known to be there in the right shape.

    Attributes:
        path: the folder.
        config: what its configuration files say.
        tokenizer: its `tokenizer.json`.
        tensors: subfolder -> published tensor name -> where it is stored.
    """

    path: Path
    config: DreamLiteConfig
    tokenizer: Path
    tensors: dict[str, TensorIndex]
    _identity: list[str] = field(default_factory=list, repr=False, compare=False)
    _digests: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def load(self, network: str, module: nn.Module, filled: Filled = lambda _, __: None) -> nn.Module:
        """Fill every parameter and persistent buffer of `module` in float32, in place; gradients are off.

        Tensors stored in float32 stay views of the memory-mapped file, others are converted one by one.

        Args:
            network: a name in `networks.SOURCES`; it says under which prefix the tensors stand.
            module: a network as `networks.build` returns it, usually on the meta device.
            filled: may give a module's tensors their final form, so that the network is never whole in float32.

        Raises:
            CheckpointError: the module's names or shapes are not the checkpoint's, or tensors are not finite; all of
                them are listed.
        """
        if network not in SOURCES:
            raise CheckpointError(unknown_name("network", network, SOURCES))
        source = SOURCES[network]
        index = self.tensors[source.folder]
        wanted = {name: source.prefix + name for name in module.state_dict()}
        problems = Problems()
        for name, tensor in module.state_dict().items():
            problems.compare(f"{source.folder}/{wanted[name]}", index.get(wanted[name]), tuple(tensor.shape))
        problems.raise_if_any(self.path)
        files = {file: MappedFile(file) for file in {index[full].file for full in wanted.values()}}
        for owner, names in groupby(wanted, key=_owner):
            own = list(names)
            for name in own:
                entry = index[wanted[name]]
                tensor = files[entry.file].float32(entry)
                if not finite(tensor):
                    where = f"{source.folder}/{wanted[name]} ({entry.dtype})"
                    problems.add("not finite", f"{where} holds infinities or NaN in float32")
                _assign(module, name, tensor)
            if not problems.kinds:
                filled(owner, module.get_submodule(owner))
            for name in own:
                entry = index[wanted[name]]
                files[entry.file].release(entry)
        problems.raise_if_any(self.path)
        return module

    def embedding_rows(self) -> "EmbeddingRows":
        """The token embedding table, row by row from the memory-mapped file."""
        return EmbeddingRows(self.tensors["text_encoder"][EMBEDDING])

    @property
    def identity(self) -> str:
        """Hex sha256 over the digests of every file used: two checkpoints that differ in one bit differ in it."""
        return self.check()

    def weights_digest(self, network: str) -> str:
        """Hex sha256 over the digests of the files that hold the weights of a network (a name in `SOURCES`).

        A fine-tune of one network leaves it as it is for those of other subfolders.
        """
        index, digests = self.tensors[SOURCES[network].folder], self.digests()
        files = sorted({str(entry.file.relative_to(self.path)) for entry in index.values()})
        return hashlib.sha256("".join(f"{file} {digests[file]}\n" for file in files).encode()).hexdigest()

    @property
    def total_bytes(self) -> int:
        """Bytes that `check` reads, and reports as progress."""
        return sum(file.stat().st_size for file in self._files())

    def check(self, progress: Progress | None = None) -> str:
        """Read everything once: the identity, or one error that lists every tensor that is not finite.

        What interrupts it, an exception of `progress` too, ends both of the readings that go on side by side.

        Raises:
            CheckpointError: as above, or a file that can no longer be read.
        """
        if not self._identity:
            given_up = Event()
            with ThreadPoolExecutor(1) as pool:
                checked = pool.submit(self._check_finite, given_up)
                try:
                    digests = self.digests(progress)
                    checked.result()
                except BaseException:
                    given_up.set()
                    raise
            listed = "".join(f"{name} {digest}\n" for name, digest in digests.items())
            self._identity.append(hashlib.sha256(listed.encode()).hexdigest())
        return self._identity[0]

    def _check_finite(self, given_up: Event) -> None:
        problems = Problems()
        for folder, index in self.tensors.items():
            files = {file: MappedFile(file) for file in {entry.file for entry in index.values()}}
            for name, entry in index.items():
                if given_up.is_set():
                    return
                values = files[entry.file].stored(entry).flatten()
                if not all(finite(part.to(torch.float32)) for part in torch.split(values, CHECKED_VALUES)):
                    problems.add("not finite", f"{folder}/{name} ({entry.dtype}) holds infinities or NaN in float32")
                files[entry.file].release(entry)
        problems.raise_if_any(self.path)

    def _files(self) -> list[Path]:
        return sorted([*_config_files(self.path), *_tensor_files(self.tensors)])

    def digests(self, progress: Progress | None = None) -> dict[str, str]:
        """Hex sha256 of every byte of every file used, by path inside the folder; computed once."""
        if not self._digests:
            try:
                found = {str(file.relative_to(self.path)): sha256_file(file, progress) for file in self._files()}
            except OSError as error:
                raise CheckpointError(f"{error.filename or self.path}: cannot be read: {error.strerror}") from error
            self._digests.update(found)
        return dict(self._digests)


@dataclass(frozen=True, slots=True)
class EmbeddingRows:
    """The token embedding table as stored; what is neither float32, float16 nor bfloat16 is converted exactly enough.

    (float8 widens to float16 without loss; float64 becomes float32.)
    """

    entry: TensorEntry

    @property
    def shape(self) -> tuple[int, int]:
        """(vocabulary, width)."""
        return self.entry.shape[0], self.entry.shape[1]

    @property
    def dtype(self) -> TableDtype:
        """float32, float16 or bfloat16: what `blocks` are."""
        stored: dict[str, TableDtype] = {"F64": "float32", "F32": "float32", "BF16": "bfloat16"}
        return stored.get(self.entry.dtype, "float16")

    def chunks(self, rows: int = 4096) -> Iterator[bytes]:
        """The little-endian bytes of `blocks`."""
        return map(little_endian, self.blocks(rows))

    def blocks(self, rows: int = 4096) -> Iterator[torch.Tensor]:
        """The table [n, width] in `dtype` from first row to last, `rows` rows at a time, each valid until the next.

        Raises:
            CheckpointError: a row is not finite.
        """
        mapped = MappedFile(self.entry.file)
        table = mapped.stored(self.entry)
        dtype = getattr(torch, self.dtype)
        for start in range(0, self.shape[0], rows):
            chunk = table[start : start + rows].to(dtype)
            if not finite(chunk.float()):
                raise CheckpointError(
                    f"{self.entry.file}: {EMBEDDING}, rows {start} to {start + len(chunk) - 1}, holds infinities or NaN"
                )
            yield chunk.contiguous()
            mapped.release(self.entry)

    def lookup(self, tokens: Sequence[int]) -> np.ndarray:
        """Rows of the given token ids, float32 [len(tokens), width].

        Raises:
            CheckpointError: an id lies outside the table.
        """
        outside = [token for token in tokens if not 0 <= token < self.shape[0]]
        if outside:
            raise CheckpointError(f"token id {outside[0]} lies outside the embedding table of {self.shape[0]} rows")
        table = MappedFile(self.entry.file).stored(self.entry)
        found: np.ndarray = table[torch.tensor(list(tokens), dtype=torch.int64)].float().numpy()
        return found


def open_checkpoint(path: Path) -> Checkpoint:
    """Check the checkpoint in the local folder `path` and index its tensors. No weight is read.

    Raises:
        CheckpointError: the folder, its tokenizer or a tensor file is missing or damaged, or tensors are missing,
            unknown, wrongly shaped or of a dtype that is no float: all listed in the one error.
        ConfigError: settings that are not supported.
    """
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(f"checkpoint folder {path} {'is a file' if path.exists() else 'does not exist'}")
    config = read_config(path)
    tokenizer = _tokenizer(path)
    problems = Problems()
    tensors: dict[str, TensorIndex] = {}
    for folder, expected in expected_tensors(config).items():
        component = read_component(path / folder, problems)
        check_tensors(folder, component, expected, problems)
        tensors[folder] = component.entries
    problems.raise_if_any(path)
    return Checkpoint(path, config, tokenizer, tensors)


def _tokenizer(path: Path) -> Path:
    for folder in ("tokenizer", "processor"):
        file = path / folder / "tokenizer.json"
        if file.is_file():
            return file
    raise CheckpointError(
        f"{path}: neither tokenizer/tokenizer.json nor processor/tokenizer.json is there; transformers writes it with "
        "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
    )


def _config_files(path: Path) -> list[Path]:
    names = ("model_index.json", "*/*config.json", "*/tokenizer.json")
    return sorted({file for name in names for file in path.glob(name) if file.is_file()})


def _tensor_files(tensors: dict[str, TensorIndex]) -> list[Path]:
    return sorted({entry.file for index in tensors.values() for entry in index.values()})


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _assign(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    leaf = name.rpartition(".")[2]
    owner = module.get_submodule(_owner(name))
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    else:
        owner._buffers[leaf] = tensor
