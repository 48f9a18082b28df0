"""What exporting one component costs: wall and processor time, peak memory of the process tree, bytes, operators.

    .venv/bin/dreamlite make-checkpoint --config mobile --seed 0 full
    .venv/bin/python -m benchmarks.full_size export full --components text_encoder --precision w4 --size 512
    .venv/bin/python -m benchmarks.full_size table      # full_size.md's tables of results/full_size.json

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
BEGIN_BLOCKS, END_BLOCKS = "<!-- blocks -->", "<!-- end of blocks -->"
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
                "traffic_bytes": spec.traffic and spec.traffic.moved_bytes,
                "predicted_ms": predicted_ms(bundle, name, method),
            }
            for method, spec in entry.methods.items()
        },
    }


def predicted_ms(bundle: Bundle, name: str, method: str) -> float | None:
    """What one call is estimated to take on the bundle's chip (`dreamlite estimate`); None where no HTP runs it."""
    entry = bundle.component(name)
    spec, precision = entry.methods[method], entry.precision
    if spec.traffic is None:
        return None
    from dreamlite_mobile.bundle_checks import geometry
    from dreamlite_mobile.components import FORWARD, MODES, size_text
    from dreamlite_mobile.latency.networks import method_work, untiled
    from dreamlite_mobile.latency.rates import packaged_rates, predict
    from dreamlite_mobile.networks.form import form_of

    plain, _, size = method.partition("_")
    assert plain in (*MODES, FORWARD)
    drawn = next((one for one in bundle.sizes if size_text(one) == size), bundle.sizes[0])
    work = method_work(geometry(bundle.manifest, drawn), name, plain, untiled(form_of("qnn", precision)))
    moved = float(spec.traffic.moved_bytes)
    found = predict(packaged_rates(), bundle.manifest.target, work, precision, moved, 1 + len(spec.then))
    return round(found.ms, 1)


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


def kept() -> dict[str, list[dict[str, Any]]]:
    """What was measured so far: `rows` of exports, `blocks` of components."""
    none: dict[str, list[dict[str, Any]]] = {"rows": [], "blocks": []}
    return none | json.loads(RESULTS.read_text()) if RESULTS.exists() else none


def add(row: dict[str, Any]) -> None:
    """Add an export, in place of one of the same command."""
    rows = [one for one in kept()["rows"] if one["command"] != row["command"]]
    rows = sorted([*rows, row], key=lambda one: (*one["components"], one["backend"], one["command"]))
    keep(kept() | {"rows": rows})


def add_blocks(found: dict[str, Any]) -> None:
    """Add the sampled blocks of a component (`full_size_blocks`), in place of those of the same one as it is."""
    others = [one for one in kept()["blocks"] if subject(one) != subject(found)]
    keep(kept() | {"blocks": sorted([*others, found], key=subject)})


def keep(results: dict[str, list[dict[str, Any]]]) -> None:
    write_atomic(RESULTS, (json.dumps(results, indent=1) + "\n").encode())


def made_for(blocks: dict[str, Any]) -> tuple[str, ...]:
    """Component, backend and precision."""
    return (blocks["component"], blocks["backend"], blocks["precision"])


def subject(blocks: dict[str, Any]) -> tuple[str, ...]:
    """What blocks are of."""
    checkpoint = blocks["command"].split()[3]  # python -m benchmarks.full_size_blocks CHECKPOINT ...
    return (*made_for(blocks), blocks["size"], blocks["method"], checkpoint)


def table(rows: list[dict[str, Any]], blocks: list[dict[str, Any]]) -> list[str]:
    """One line for each component of each row."""
    lines = [
        "| component | backend | precision | size | lowering, s | whole export: wall, CPU s | peak | files | "
        "operators (delegates, outside) | HTP: traffic, predicted | sampled blocks, dB | command |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for name, part in row["components"].items():
            cuts = "; ".join(f"{method} {cut(found)}" for method, found in part["methods"].items())
            programs = "" if part["programs"] == 1 else f" in {part['programs']}"
            lowering = "copied" if part["seconds"] is None else f"{part['seconds']:.0f}"
            lines.append(
                f"| {name} | {row['backend']} | {part['precision']} | {row['size']} | {lowering} "
                f"| {row['seconds']}, {row['cpu_seconds']} | {row['peak_bytes'] / 1e9:.2f} GB "
                f"| {part['bytes'] / 1e6:,.1f} MB{programs} | {cuts} | {on_the_htp(part['methods'])} "
                f"| {worst_block(blocks, name, row['backend'], part['precision'])} | `{row['command']}` |"
            )
    return lines


def on_the_htp(methods: dict[str, Any]) -> str:
    """Megabytes to and from DDR, and estimated milliseconds, of one call of each method; `-` where there are none."""
    found = [
        f"{method} {row['traffic_bytes'] / 1e6:,.0f} MB, {row['predicted_ms']:,.0f} ms"
        for method, row in methods.items()
        if row.get("traffic_bytes") is not None
    ]
    return "; ".join(found) or "-"


def worst_block(blocks: list[dict[str, Any]], *component: str) -> str:
    """The least of what was measured of a component with that backend and precision, at any size; `-` if nothing."""
    found = [block["snr_db"] for one in blocks if made_for(one) == component for block in one["blocks"]]
    return f"{min(found):.1f} ({len(found)})" if found else "-"


def block_table(blocks: list[dict[str, Any]]) -> list[str]:
    """One line for each component: the blocks of every kind and width, the worst of each."""
    lines = [
        "| component | backend | precision | size | blocks: width, dB | CPU s | command |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in blocks:
        worst: dict[str, float] = {}
        for block in one["blocks"]:
            label = f"{block['kind']} {width(block['shape'])}"
            worst[label] = min(worst.get(label, block["snr_db"]), block["snr_db"])
        told = ", ".join(f"{label} {snr:.1f}" for label, snr in worst.items())
        lines.append(
            f"| {one['component']}.{one['method']} | {one['backend']} | {one['precision']} | {one['size']} "
            f"| {told} | {one['cpu_seconds']} | `{one['command']}` |"
        )
    return lines


def width(shape: list[int]) -> int:
    """Channels of a picture [1, C, h, w], or columns of rows."""
    return shape[1] if len(shape) == 4 else shape[-1]


def cut(method: dict[str, Any]) -> str:
    """`1,234 (1, 0)`."""
    count = "-" if method["operators"] is None else f"{method['operators']:,}"
    return count if method["delegates"] is None else f"{count} ({method['delegates']}, {method['outside']})"


def write_tables() -> None:
    """Replace the tables of the document."""
    found, text = kept(), DOCUMENT.read_text()
    text = replaced(text, BEGIN, END, table(found["rows"], found["blocks"]))
    write_atomic(DOCUMENT, replaced(text, BEGIN_BLOCKS, END_BLOCKS, block_table(found["blocks"])).encode())


def replaced(text: str, begin: str, end: str, lines: list[str]) -> str:
    """A document with other lines between two marks."""
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return "\n".join([head + begin, *lines, end + tail])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="measure one export and keep the row")
    export.add_argument("checkpoint", type=Path)
    export.add_argument("--keep", type=Path, help="where the bundle is to stay")
    commands.add_parser("table", help="write the tables of the document anew")
    given, options = parser.parse_known_args()
    if given.command == "table":
        write_tables()
        return
    row = exported(given.checkpoint, options, given.keep)
    add(row)
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
