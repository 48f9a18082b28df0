"""The file of an export matrix: what it may say, and the cells that it asks for."""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import Field, ValidationError

from dreamlite_mobile.bundle_fields import Backend
from dreamlite_mobile.bundle_files import describe
from dreamlite_mobile.components import COMPONENTS, MODES, Size, check_names, size_text, sizes_text
from dreamlite_mobile.errors import ConfigError, unknown_name
from dreamlite_mobile.images import parse_size
from dreamlite_mobile.strict import Strict
from export.embeddings import Storage
from export.precision import PRESETS
from export.targets import DEFAULT_SOC, target

BACKENDS: tuple[Backend, ...] = ("xnnpack", "onnx", "qnn", "coreml")
Names = Annotated[tuple[str, ...], Field(min_length=1)]
OneSize = str | int
USUAL = "usual"
"""The precision of a cell where none is named: the backend's first of each component."""


class MatrixFile(Strict):
    """What `export-matrix` reads. Each list multiplies the cells; `socs` only those of qnn.

    One of `sizes` may be a list: a bundle of several. `embeddings` and `precompute_prefix` are as `export` has them.
    """

    checkpoints: Names
    backends: Names
    sizes: Annotated[tuple[OneSize | Annotated[tuple[OneSize, ...], Field(min_length=1)], ...], Field(min_length=1)]
    precisions: Names | dict[str, Names] | None = None
    socs: Names | None = None
    components: Names | None = None
    modes: Names = MODES
    embeddings: Storage = "stored"
    precompute_prefix: bool = False
    skip_unsupported: bool = False

    def precisions_of(self, backend: str) -> tuple[str | None, ...]:
        """One list is for every backend; a table has one for each that it names."""
        wanted = self.precisions
        found = wanted.get(backend) if isinstance(wanted, dict) else wanted
        return found or (None,)

    @property
    def bundles(self) -> tuple[tuple[Size, ...], ...]:
        """The picture sizes of each bundle, its default first.

        Raises:
            ConfigError: one that is no size.
        """
        listed = [size if isinstance(size, tuple) else (size,) for size in self.sizes]
        return tuple(tuple(parse_size(str(one)) for one in sizes) for sizes in listed)


@dataclass(frozen=True, slots=True)
class Cell:
    """One bundle to be made; `name` is its folder."""

    name: str
    checkpoint: str
    backend: Backend
    precision: str | None
    sizes: tuple[Size, ...]
    soc: str | None


def read_matrix(file: Path) -> MatrixFile:
    """The file, checked as far as that goes without opening a checkpoint.

    Raises:
        ConfigError: it cannot be read, or says something that is not known; all of that in one message.
    """
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}; name a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is no TOML: {error}") from error
    strangers = [
        unknown_name("key", key, MatrixFile.model_fields) for key in said if key not in MatrixFile.model_fields
    ]
    if strangers:
        raise ConfigError(f"{file}: {' '.join(strangers)}")
    try:
        found = MatrixFile.model_validate_json(json.dumps(said, default=str))
    except ValidationError as error:
        raise ConfigError(f"{file}: {describe(error)}") from error
    try:
        check_lists(found)
    except ConfigError as error:
        raise ConfigError(f"{file}: {str(error).removeprefix('--')}") from error
    return found


def check_lists(said: MatrixFile) -> None:
    """Refuse (ConfigError) a name that nobody knows, wherever it stands."""
    check_names("backend", said.backends, BACKENDS)
    check_names("mode", said.modes, MODES)
    check_names("component", said.components or COMPONENTS, COMPONENTS)
    if isinstance(said.precisions, dict):
        check_names("backend", said.precisions, said.backends)
    presets = [name for backend in said.backends for name in said.precisions_of(backend) if name is not None]
    for preset in {name.partition(",")[0] for name in presets}:
        if "=" not in preset and preset not in PRESETS:
            raise ConfigError(unknown_name("precision", preset, PRESETS))
    _ = said.bundles
    for soc in said.socs or ():
        target(soc)
    if said.socs and "qnn" not in said.backends:
        raise ConfigError(f"socs {', '.join(said.socs)}: only qnn files are for one chip; add qnn to backends")


def cells_of(said: MatrixFile, labels: Mapping[str, str]) -> list[Cell]:
    """Every cell once, checkpoints slowest.

    Args:
        labels: a name for each checkpoint.
    """
    cells: dict[str, Cell] = {}
    for checkpoint, backend in product(said.checkpoints, said.backends):
        socs = [target(soc).soc for soc in said.socs or (DEFAULT_SOC,)] if backend == "qnn" else [None]
        for soc, precision, sizes in product(socs, said.precisions_of(backend), said.bundles):
            name = "-".join(named(labels[checkpoint], backend, soc, precision, sizes_label(sizes)))
            cells[name] = Cell(name, checkpoint, cast("Backend", backend), precision, sizes, soc)
    return list(cells.values())


def sizes_label(sizes: Sequence[Size]) -> str:
    """Of a bundle's sizes, in names of cells and tasks."""
    return "+".join(map(size_text, sizes))


def named(label: str, backend: str, soc: str | None, precision: str | None, size: str) -> Iterator[str]:
    """The parts of a cell's name, which is a folder's."""
    yield label.replace("/", "-")
    yield backend
    if soc is not None:
        yield soc
    yield (precision or USUAL).replace(" ", "").replace(",", "+")
    yield size


def as_json(cell: Cell) -> dict[str, Any]:
    """A cell as results name it."""
    return {
        "cell": cell.name,
        "checkpoint": cell.checkpoint,
        "backend": cell.backend,
        "precision": cell.precision or USUAL,
        "size": sizes_text(cell.sizes),
        "soc": cell.soc,
    }
