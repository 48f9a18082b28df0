"""The nodes of a cluster: what they have, and whether each has the same install and sees the same folders."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamlite_mobile.errors import ConfigError, ExportError, OutputError
from dreamlite_mobile.files import make_folder
from dreamlite_mobile.parity.versions import versions
from export.pieces import code_digest

if TYPE_CHECKING:  # a node that is asked imports this file, and has no need of torch
    from export.graph import Task

ANSWER_SECONDS = 300.0
"""Within which every node has to say what it has; it starts a process for that, which a busy one does slowly."""

PROBE = ".seen-by-every-node-"


@dataclass(frozen=True, slots=True)
class Room:
    """What the nodes that can take a task have: cores and bytes of all, the most bytes of one."""

    cores: int
    memory: int
    largest: int


def usable(ray: Any) -> list[dict[str, Any]]:
    """The nodes that can take a task. The head of a cluster often offers memory and no core."""
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]


def room_of(ray: Any) -> Room:
    """What there is now: nodes come and go.

    Raises:
        ExportError: no node that can take a task.
    """
    offers = [node["Resources"] for node in usable(ray)]
    if not offers:
        raise ExportError("no node of the cluster has a core for a task; add one: ray start --address HOST:PORT")
    memory = [int(offer.get("memory", 0)) for offer in offers]
    return Room(sum(int(offer["CPU"]) for offer in offers), sum(memory), max(memory))


@cache
def installed() -> dict[str, str]:
    """What a piece's bytes depend on beside its task: versions of tools, and this toolkit's source code."""
    return versions() | {"source code": code_digest()[:12]}


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """What is installed otherwise."""
    names = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    return [f"{name} is {found.get(name, 'missing')}, expected {expected.get(name, 'none')}" for name in names]


def unseen(files: Mapping[str, int]) -> list[str]:
    """Those files that are not there in that size."""
    return [f"{name} is not there as here" for name, size in files.items() if not _has_size(Path(name), size)]


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def check_nodes(ray: Any, address: str, tasks: "Iterable[Task]") -> None:
    """Refuse (ConfigError) nodes that would make other bytes, or make them where the others do not see them."""
    nodes = usable(ray)
    with shared_files(tasks) as files:
        answers = answers_of(ray, nodes, files)
    here = {node["NodeID"] for node in usable(ray)}  # one that has left meanwhile takes no part
    problems = [
        f"  {node_name(node)}: {'; '.join(found)}"
        for node, found in zip(nodes, answers, strict=True)
        if found and node["NodeID"] in here
    ]
    if problems:
        raise ConfigError(
            f"--address {address}: {len(problems)} of {len(nodes)} nodes cannot take part\n"
            + "\n".join(problems)
            + "\nInstall there what is installed here, keep --out, --cache and checkpoints in folders that every node "
            "sees under the same path, or take the node out (`ray stop` on it)."
        )


def node_name(node: Mapping[str, Any]) -> str:
    """As `ray start --node-name` gave it, else its address, and its host."""
    return f"{node['NodeName']} ({node['NodeManagerHostname']})"


@contextlib.contextmanager
def shared_files(tasks: "Iterable[Task]") -> Iterator[dict[str, int]]:
    """Files that every node has to see, with sizes: those of checkpoints, one put into each folder to write to."""
    requests = [task.request for task in tasks]
    folders = {folder for one in requests if (folder := one.cache)} | {task.out.parent for task in tasks if task.out}
    read = {entry.file for one in requests for index in one.checkpoint.tensors.values() for entry in index.values()}
    read |= {one.checkpoint.tokenizer for one in requests}
    with contextlib.ExitStack() as stack:
        for folder in folders:
            make_folder(folder, "--cache")
            sweep(folder)
            try:
                file = stack.enter_context(tempfile.NamedTemporaryFile(dir=folder, prefix=PROBE))
            except OSError as error:
                raise OutputError(f"{folder}: cannot be written to: {error.strerror}; name another place") from error
            read.add(Path(file.name))
        yield {os.fspath(file): file.stat().st_size for file in sorted(read)}


def sweep(folder: Path) -> None:
    """Remove files that a killed run put there for nodes to see; those of one that still asks are younger."""
    for left in folder.glob(f"{PROBE}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 2 * ANSWER_SECONDS:
                left.unlink()


def answers_of(ray: Any, nodes: Iterable[Mapping[str, Any]], files: Mapping[str, int]) -> list[list[str]]:
    """What is wrong with each node."""
    expected = installed()

    def on_node() -> list[str]:
        # a function within a function is sent as code: the node may have none of this
        try:
            from export.nodes import differences, installed, unseen
        except ImportError as error:
            return [f"dreamlite_mobile is another or none ({error})"]
        return [*differences(installed(), expected), *unseen(files)]

    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    remote = ray.remote(num_cpus=0, max_calls=1, max_retries=1)(on_node)
    asked = [
        remote.options(name="node check", scheduling_strategy=strategy(node["NodeID"], soft=False)).remote()
        for node in nodes
    ]
    ready, _ = ray.wait(asked, num_returns=len(asked), timeout=ANSWER_SECONDS)
    return [answer_of(ray, one) if one in ready else [f"no answer in {ANSWER_SECONDS:.0f} s"] for one in asked]


def answer_of(ray: Any, reference: Any) -> list[str]:
    try:
        found: list[str] = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        return [f"the check failed there: {error.cause!r}"]
    except ray.exceptions.RayError as error:
        return [f"it went away ({type(error).__name__})"]
    return found
