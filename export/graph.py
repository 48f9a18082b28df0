"""The tasks of an export matrix: pieces (components, each made once however many cells share it), then bundles."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.bundle_checks import MANIFEST_NAME
from dreamlite_mobile.errors import BundleError, ConfigError, DreamLiteError, OutputError
from dreamlite_mobile.files import sha256_file
from dreamlite_mobile.measure import measured
from export.driver import ExportRequest, Plan, calibrate, plan_export, run_export
from export.estimate import PROCESS_BYTES, lowering_bytes
from export.matrix import Cell, sizes_label
from export.parts import key_of, make_piece
from export.pieces import Kept, Pieces, piece_key


class BundleRecord(Kept):
    """That a cell's bundle was finished, with this manifest. It has no files of its own."""

    manifest: str


@dataclass(frozen=True, slots=True)
class Task:
    """A piece (`component`) or a bundle (`out`). `memory`: bytes that it is expected to hold."""

    name: str
    key: str
    request: ExportRequest
    memory: int
    needs: tuple[str, ...] = ()
    component: str | None = None
    out: Path | None = None
    replace: bool = False

    def run(self) -> dict[str, Any]:
        """Do it: what it took, or why it cannot be done."""
        try:
            with measured() as cost:
                made = self.make_bundle() if self.component is None else self.make_piece(self.component)
        except (DreamLiteError, OSError) as error:
            return {"problem": str(error)}
        return {"made": made, "seconds": cost.seconds, "peak_bytes": cost.peak_bytes}

    def make_piece(self, component: str) -> bool:
        """Whether the piece had to be made."""
        plan = plan_export(self.request)
        calibrate(plan, lambda _: None)
        return make_piece(plan, component)

    def make_bundle(self) -> bool:
        """Put the pieces together; whether a worker that died, or was only taken for dead, had not done so."""
        assert self.out is not None
        if not self.replace and is_finished(self, self.out):
            return False
        try:
            run_export(plan_export(self.request), self.out, replace=self.replace, finished=self.note)
        except OutputError:
            if self.replace or not is_finished(self, self.out):
                raise
            return False
        return True

    def note(self, folder: Path) -> None:
        """Keep what the bundle in that folder is, before it is in its place: there it is never without a note."""
        assert self.request.cache is not None
        record = BundleRecord(files={}, manifest=sha256_file(folder / MANIFEST_NAME))
        Pieces(self.request.cache).add(self.key, folder, record)


@dataclass(frozen=True, slots=True)
class Planned:
    """A cell with its tasks: its pieces, then its bundle. `reason`: why there are none."""

    cell: Cell
    pieces: tuple[Task, ...] = ()
    bundle: Task | None = None
    unchanged: bool = False
    reason: str = ""


def plan_cell(cell: Cell, request: ExportRequest, out: Path, force: bool) -> Planned:
    """The tasks of a cell; one that its backend cannot do has a reason in their stead.

    Raises:
        OutputError: its place is taken by something else.
    """
    try:
        plan = plan_export(request)
    except ConfigError as error:
        return Planned(cell, reason=str(error).removeprefix("--"))
    pieces = tuple(piece_task(plan, component) for component in plan.specs)
    place = out / cell.name
    needs = tuple(piece.key for piece in pieces)
    asked = {
        "sizes": request.sizes,
        "modes": request.modes,
        "source": request.source,
        "embeddings": request.embeddings,
        "prefix": request.precompute_prefix,
    }
    key = piece_key({"bundle": cell.name, "pieces": needs, **asked})
    bundle = Task(cell.name, key, request, PROCESS_BYTES, needs, out=place, replace=force)
    return Planned(cell, pieces, bundle, unchanged=not force and is_finished(bundle, place))


def piece_task(plan: Plan, component: str) -> Task:
    """The task of one component; what it is called says what sets it apart."""
    request = plan.request
    soc = [] if request.soc is None else [request.soc]
    name = " ".join(
        [component, request.source, request.backend, *soc, plan.precisions[component], sizes_label(request.sizes)]
    )
    return Task(name, key_of(plan, component), request, lowering_bytes(plan, component), component=component)


def is_finished(bundle: Task, place: Path) -> bool:
    """Whether the place holds what the task would make.

    Raises:
        OutputError: it holds something else.
    """
    if not place.exists():
        return False
    assert bundle.request.cache is not None
    noted = Pieces(bundle.request.cache).find(bundle.key, BundleRecord)
    try:
        if noted is not None and sha256_file(open_bundle(place, verify="quick").path / MANIFEST_NAME) == (
            noted.record.manifest
        ):
            return True
    except BundleError:
        pass
    raise OutputError(
        f"{place}: exists already and is not what the matrix would make now; name another --out, or pass --force"
    )


def graph(cells: Iterable[Planned]) -> dict[str, Task]:
    """What is to be done, by key: every piece once, needed by one bundle or more."""
    tasks: dict[str, Task] = {}
    for one in cells:
        if one.bundle is None or one.unchanged:
            continue
        tasks |= {piece.key: piece for piece in one.pieces if piece.key not in tasks}
        tasks[one.bundle.key] = one.bundle
    return tasks


def alone(task: Task, memory: int) -> Task:
    """The task as one that takes all the memory there is."""
    return replace(task, memory=memory)
