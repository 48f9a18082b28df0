"""Core ML packages of a checkpoint, precision by precision: bytes, operators, parity, pictures, score before and after.

    .venv/bin/python -m benchmarks.coreml dreamlite_mobile/tiny/checkpoint --work DIR --json FILE
    .venv/bin/python -m benchmarks.coreml tiny --size 64 --work DIR --score 0

Every method is converted once and compressed for each precision. What is measured is the saved bundle, through the
evaluator, against torch in fp32. Bundles stay in the work folder, and one that is there already is measured as it is;
the JSON is written after every precision.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.compared import compared, decibels, row_json, told
from dreamlite_mobile.bundle import Bundle, open_bundle
from dreamlite_mobile.checkpoint import Checkpoint, open_checkpoint
from dreamlite_mobile.cli.scoring import Scorer
from dreamlite_mobile.cli.shared import quiet_libraries
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.parity.report import scores_json
from dreamlite_mobile.parity.versions import versions
from dreamlite_mobile.runtime.coreml import function_name
from dreamlite_mobile.runtime.mil.checks import CONSTANTS
from dreamlite_mobile.runtime.mil.program import read_program
from export import coreml
from export.cutting import Part
from export.driver import ExportRequest, plan_export, run_export

PRECISIONS = ("fp16", "w8", "p6", "p4")


def bundles(checkpoint: Checkpoint, precisions: list[str], size: int, work: Path) -> Iterator[Bundle]:
    """A bundle for each precision; equal components are taken from the earlier ones."""
    real, models, made = coreml.converted, dict[str, Any](), list[Bundle]()

    def once(where: str, part: Part) -> Any:
        if where not in models:
            models[where] = real(where, part)
        return models[where]

    for precision in precisions:
        folder = work / f"{precision}-{size}"
        if not folder.is_dir():
            plan = plan_export(
                ExportRequest(
                    checkpoint, checkpoint.path.name, "coreml", size, size, precision=precision, reuse=tuple(made)
                )
            )
            with mock.patch.object(coreml, "converted", once):
                run_export(plan, folder, notify=lambda text: told(f"  {text}"))
        made.append(open_bundle(folder))
        if made[-1].manifest.checkpoint.sha256 != checkpoint.identity:
            raise ConfigError(f"--work {work}: {folder.name} was made from other weights; choose another folder")
        yield made[-1]


def held(bundle: Bundle) -> dict[str, Any]:
    """By component: precision, bytes of its files and of its weights, operators of each method by kind."""
    files = bundle.manifest.files
    return {
        name: {
            "precision": entry.precision,
            "bytes": sum(files[file].bytes for file in entry.files),
            "weight_bytes": sum(files[file].bytes for file in entry.files if file.endswith(coreml.WEIGHTS)),
            "operators": {
                method: dict(operators([bundle.file(file) for file in (spec.file, *spec.then)], method).most_common())
                for method, spec in entry.methods.items()
            },
        }
        for name, entry in bundle.manifest.components.items()
    }


def operators(programs: list[Path], method: str) -> Counter[str]:
    """Operators of a method over all its programs, constants left out."""
    found: Counter[str] = Counter()
    for path in programs:
        program = read_program(path)
        operations = program.functions[function_name(program, method)].operations
        found.update(one.kind for one in operations if one.kind not in CONSTANTS)
    return found


def measured(bundle: Bundle, checkpoint: Checkpoint, scorer: Scorer, pictures: int) -> dict[str, Any]:
    """Everything about one bundle; the score only where pictures are asked for."""
    begin = time.process_time()
    found: dict[str, Any] = {"components": held(bundle), "parity": list(map(row_json, compared(bundle, checkpoint)))}
    scored = scorer.scored(bundle, checkpoint, pictures) if pictures else None
    found["score"] = scores_json(scored)
    found["processor_seconds"] = round(time.process_time() - begin, 1)
    return found


def print_tables(found: dict[str, Any]) -> None:
    """Bytes, parity and score, a column for each precision."""
    by = found["precisions"]
    print(f"\n| | {' | '.join(by)} |\n|---{'|---' * len(by)}|")
    for name in next(iter(by.values()))["components"]:
        megabytes = (f"{one['components'][name]['weight_bytes'] / 1e6:.2f}" for one in by.values())
        print(f"| `{name}`, weights in MB | {' | '.join(megabytes)} |")
    rows = {precision: {row["output"]: row for row in one["parity"]} for precision, one in by.items()}
    for output in next(iter(rows.values())):
        print(f"| {output}, dB (floor) | {' | '.join(decibels(its[output]) for its in rows.values())} |")
    for index, group in enumerate(next(iter(by.values()))["score"]):
        cells = (one["score"][index] for one in by.values())
        told_scores = (f"{cell['before']['overall']:.3f} -> {cell['after']['overall']:.3f}" for cell in cells)
        print(f"| score, {group['group']} ({group['pictures']}) | {' | '.join(told_scores)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="a folder for the bundles")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--score", type=int, default=18, metavar="N", help="pictures of each of four groups; 0: none")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    quiet_libraries()
    options.work.mkdir(parents=True, exist_ok=True)
    checkpoint, scorer = open_checkpoint(options.checkpoint), Scorer()
    found: dict[str, Any] = {"checkpoint": checkpoint.identity, "size": options.size, "tools": versions()}
    found["precisions"] = {}
    for precision, bundle in zip(
        options.precisions, bundles(checkpoint, options.precisions, options.size, options.work), strict=True
    ):
        told(f"{precision}: measuring")
        found["precisions"][precision] = measured(bundle, checkpoint, scorer, options.score)
        if options.json is not None:
            options.json.write_text(json.dumps(found, indent=2) + "\n")
    print_tables(found)


if __name__ == "__main__":
    main()
