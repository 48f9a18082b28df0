"""What exporting one component costs: wall and processor time, peak memory of the process tree, bytes, operators.

    .venv/bin/dreamlite make-checkpoint --config mobile --seed 0 full
    .venv/bin/python -m benchmarks.full_size export full --components text_encoder --precision w4 --size 512
    .venv/bin/python -m benchmarks.full_size table      # full_size.md's table of results/full_size.json

Whatever `dreamlite export` takes may follow. Each row keeps its command; a row of the same command is replaced.
The peak is that of the exporter with all its workers, looked at from outside.
"""

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamlite_mobile.bundle import Bundle, open_bundle
from dreamlite_mobile.components import sizes_text
from dreamlite_mobile.files import write_atomic
from export.memory import tree_bytes

RESULTS = Path(__file__).with_name("results") / "full_size.json"
DOCUMENT = Path(__file__).with_name("full_size.md")
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
LOOK_SECONDS = 0.2
LOOK_SHARE = 0.05
"""Of the time, at most, spent on looking: a look at gigabytes takes long and stops who is looked at."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A process that ended well: what it printed, wall and processor seconds and peak bytes of its tree."""

    printed: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def watch(command: list[str]) -> Watched:
    """Run a command and look at what it and all its children hold.

    Raises:
        SystemExit: it failed; what it said is on stderr.
    """
    before, begin, peak = children_seconds(), time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as stdout:
        process = subprocess.Popen(command, stdout=stdout)
        while process.poll() is None:
            looked = time.perf_counter()
            peak = max(peak, tree_bytes(process.pid))
            time.sleep(max(LOOK_SECONDS, (time.perf_counter() - looked) / LOOK_SHARE))
        if process.returncode:
            sys.exit(process.returncode)
        stdout.seek(0)
        printed = stdout.read()
    return Watched(printed, time.perf_counter() - begin, children_seconds() - before, peak)


def children_seconds() -> float:
    """Processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def exported(checkpoint: Path, options: list[str], keep: Path | None = None) -> dict[str, Any]:
    """Export in a process of its own, into a folder to `keep`; the row of what it took and made."""
    with tempfile.TemporaryDirectory(prefix="dreamlite-full-") as folder:
        out = keep or Path(folder, "bundle")
        program = [sys.executable, "-c", "from dreamlite_mobile.cli import main; main()", "export", str(checkpoint)]
        watched = watch([*program, "--out", str(out), *options, "--json"])
        told, bundle = json.loads(watched.printed), open_bundle(out, verify="quick")
        manifest = bundle.manifest
        return {
            "command": shlex.join(["python", "-m", "benchmarks.full_size", "export", checkpoint.name, *options]),
            "backend": manifest.backend,
            "target": manifest.target,
            "size": sizes_text(bundle.sizes),
            "seconds": round(watched.seconds),
            "cpu_seconds": round(watched.cpu_seconds),
            "peak_bytes": watched.peak_bytes,
            "tables_bytes": 0 if manifest.embeddings is None else manifest.embeddings.nbytes,
            "components": {name: component_row(bundle, name, told["components"][name]) for name in manifest.components},
            "tools": manifest.tools.model_dump(mode="json"),
            "cores": len(os.sched_getaffinity(0)),
            "load": round(os.getloadavg()[2], 1),
        }


def component_row(bundle: Bundle, name: str, told: dict[str, Any]) -> dict[str, Any]:
    """Of one component: its precision, what lowering took, its bytes, and by method how it is cut."""
    entry = bundle.component(name)
    return {
        "precision": entry.precision,
        "seconds": told["seconds"],
        "peak_bytes": told["peak_memory_bytes"],
        "bytes": sum(bundle.manifest.files[file].bytes for file in entry.files),
        "programs": len({file for spec in entry.methods.values() for file in (spec.file, *spec.then)}),
        "methods": {
            method: {
                "operators": operators(bundle, name, method),
                "delegates": spec.delegates and spec.delegates.count,
                "outside": spec.delegates and len(spec.delegates.operators_outside),
            }
            for method, spec in entry.methods.items()
        },
    }


def operators(bundle: Bundle, name: str, method: str) -> int | None:
    """Operators of a method as its file holds them; None where the file does not say (HTP contexts)."""
    spec = bundle.component(name).methods[method]
    programs = [bundle.file(file) for file in (spec.file, *spec.then)]
    match bundle.manifest.backend:
        case "xnnpack":
            from export.pte import read_pte

            return sum(len(read_pte(path.read_bytes(), path.name).graphs[method]["xnodes"]) for path in programs)
        case "onnx":
            import onnx

            return sum(len(onnx.load(str(path), load_external_data=False).graph.node) for path in programs)
        case "coreml":
            from benchmarks.coreml import operators as counted

            found: Counter[str] = counted(programs, method)
            return sum(found.values())
        case _:
            return None


def kept() -> list[dict[str, Any]]:
    """The rows so far."""
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    return rows


def add(row: dict[str, Any]) -> None:
    """Add a row, in place of one of the same command."""
    rows = [one for one in kept() if one["command"] != row["command"]]
    rows = sorted([*rows, row], key=lambda one: (*one["components"], one["backend"], one["command"]))
    write_atomic(RESULTS, (json.dumps({"rows": rows}, indent=1) + "\n").encode())


def table(rows: list[dict[str, Any]]) -> list[str]:
    """One line for each component of each row."""
    lines = [
        "| component | backend | precision | size | lowering, s | whole export: wall, CPU s | peak | files | "
        "operators (delegates, outside) | command |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for name, part in row["components"].items():
            cuts = "; ".join(f"{method} {cut(found)}" for method, found in part["methods"].items())
            programs = "" if part["programs"] == 1 else f" in {part['programs']}"
            lowering = "copied" if part["seconds"] is None else f"{part['seconds']:.0f}"
            lines.append(
                f"| {name} | {row['backend']} | {part['precision']} | {row['size']} | {lowering} "
                f"| {row['seconds']}, {row['cpu_seconds']} | {row['peak_bytes'] / 1e9:.2f} GB "
                f"| {part['bytes'] / 1e6:,.1f} MB{programs} | {cuts} | `{row['command']}` |"
            )
    return lines


def cut(method: dict[str, Any]) -> str:
    """`1,234 (1, 0)`."""
    count = "-" if method["operators"] is None else f"{method['operators']:,}"
    return count if method["delegates"] is None else f"{count} ({method['delegates']}, {method['outside']})"


def write_table() -> None:
    """Replace the table of the document."""
    head, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    lines = "\n".join(table(kept()))
    write_atomic(DOCUMENT, f"{head}{BEGIN}\n{lines}\n{END}{tail}".encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="measure one export and keep the row")
    export.add_argument("checkpoint", type=Path)
    export.add_argument("--keep", type=Path, help="where the bundle is to stay")
    commands.add_parser("table", help="write the table of the document anew")
    given, options = parser.parse_known_args()
    if given.command == "table":
        write_table()
        return
    row = exported(given.checkpoint, options, given.keep)
    add(row)
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
