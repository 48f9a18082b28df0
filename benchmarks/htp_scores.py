"""Precisions of the HTP on its emulator: components and pictures against torch in fp32, the score before and after.

    .venv/bin/python -m benchmarks.htp_scores dreamlite_mobile/tiny/checkpoint --work DIR --json FILE

What is finished stays in the work folder: components, bundles, what was compared, every picture of every side. A run
that was stopped goes on from there. The JSON is written after every precision.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    from dreamlite_mobile.cli.shared import with_qnn

    with_qnn()

import numpy as np

from benchmarks.compared import compared, decibels, row_json, told
from dreamlite_mobile.bundle import Bundle, open_bundle
from dreamlite_mobile.checkpoint import Checkpoint, open_checkpoint
from dreamlite_mobile.cli.score import reference_of
from dreamlite_mobile.cli.shared import quiet_libraries
from dreamlite_mobile.files import write_atomic
from dreamlite_mobile.images import load_image, save_png
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.parity.report import scores_json
from dreamlite_mobile.parity.schema import level
from dreamlite_mobile.parity.scored import Scored
from dreamlite_mobile.parity.versions import versions
from dreamlite_mobile.pipeline import Pipeline
from dreamlite_mobile.runtime.session import Session
from dreamlite_mobile.tiny.evaluate import GROUPS, Evaluation, Made, asked_of
from export.driver import ExportRequest, plan_export, run_export
from export.precision import WIDTHS

PRECISIONS = ("fp16", *WIDTHS)
SIZE = 128
STEPS = 4


def bundle_of(checkpoint: Checkpoint, precision: str, work: Path) -> Bundle:
    """The bundle of a precision, exported unless it is there."""
    folder = work / precision
    if not folder.is_dir():
        plan = plan_export(
            ExportRequest(
                checkpoint, checkpoint.path.name, "qnn", SIZE, SIZE, precision=precision, emulator=True,
                cache=work / "cache",
            )
        )  # fmt: skip
        run_export(plan, folder, notify=lambda text: told(f"  {text}"))
    return open_bundle(folder)


def parity_of(bundle: Bundle, checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """The worst row of each output, measured once."""
    file = bundle.path.with_name(f"{bundle.path.name}.parity.json")
    if not file.is_file():
        rows = list(map(row_json, compared(bundle, checkpoint)))
        write_atomic(file, json.dumps(rows, indent=1).encode() + b"\n")
    found: list[dict[str, Any]] = json.loads(file.read_bytes())
    return found


def drawn(folder: Path, count: int, pipeline: Callable[[], Pipeline]) -> Evaluation:
    """The first `count` pictures of each group: those in the folder, the others through the pipeline."""
    return Evaluation({group: list(group_of(folder, group, count, pipeline)) for group in GROUPS})


def group_of(folder: Path, group: str, count: int, pipeline: Callable[[], Pipeline]) -> Iterator[Made]:
    """Pictures of one group; `dreamlite score` asks for the same from the same noise."""
    for index, asked in enumerate(asked_of(group, count, SIZE)):
        file = folder / f"{group.replace(', ', '-').replace(' ', '-')}-{index}.png"
        if not file.is_file():
            told(f"  {folder.name}: {file.stem}")
            save_png(asked.draw(pipeline(), index, STEPS), file, {})
        yield asked.judged(load_image(file))


def pictures_json(scored: Scored) -> dict[str, Any]:
    """By group: PSNR in dB against fp32 over its pictures, the worst and the median."""
    found = {}
    for group, before in scored.before.made.items():
        pairs = zip(scored.after.made[group], before, strict=True)
        psnr = [one for after, made in pairs if (one := psnr_db(after, made)) is not None]
        found[group] = {"worst_psnr_db": level(min(psnr)), "median_psnr_db": level(statistics.median(psnr))}
    return found


def psnr_db(found: Made, expected: Made) -> float | None:
    """Of one picture."""
    return compare(np.asarray(found.picture), np.asarray(expected.picture), picture=True).psnr_db


def measured(checkpoint: Checkpoint, precision: str, work: Path, count: int) -> dict[str, Any]:
    """Everything about one precision."""
    bundle = bundle_of(checkpoint, precision, work)
    parity = parity_of(bundle, checkpoint)
    with ExitStack() as stack:
        open_once = cache(lambda: stack.enter_context(Session(bundle, emulator=True)).pipeline())
        after = drawn(folder_of(work, f"{precision}-pictures"), count, open_once)
    reference = cache(lambda: reference_of(str(checkpoint.path), SIZE))
    scored = Scored(drawn(folder_of(work, "fp32-pictures"), count, reference), after)
    precisions = {name: entry.precision for name, entry in bundle.manifest.components.items()}
    return {
        "components": precisions,
        "parity": parity,
        "pictures": pictures_json(scored),
        "score": scores_json(scored),
        "loss": scored.loss(),
        "complaint": scored.complaint(precisions.values()),
    }


def folder_of(work: Path, name: str) -> Path:
    """A folder for pictures."""
    folder = work / name
    folder.mkdir(exist_ok=True)
    return folder


def print_tables(by: dict[str, Any]) -> None:
    """Parity, pictures and score, a column for each precision."""
    print(f"\n| | {' | '.join(by)} |\n|---{'|---' * len(by)}|")
    rows = {precision: {row["output"]: row for row in one["parity"]} for precision, one in by.items()}
    for output in next(iter(rows.values())):
        print(f"| {output} | {' | '.join(decibels(its[output]) for its in rows.values())} |")
    first: Sequence[dict[str, Any]] = next(iter(by.values()))["score"]
    for index, group in enumerate(first):
        name, cells = group["group"], [one["score"][index] for one in by.values()]
        psnr = [one["pictures"][name] for one in by.values()]
        print(f"| PSNR, {name}: worst, median | {' | '.join(map(both, psnr))} |")
        told_scores = (f"{cell['before']['overall']:.3f} -> {cell['after']['overall']:.3f}" for cell in cells)
        print(f"| score, {name} ({group['pictures']}) | {' | '.join(told_scores)} |")
        turned = (f"{cell['lost']}, {cell['gained']}" for cell in cells)
        print(f"| turned wrong, right | {' | '.join(turned)} |")
    losses = (f"{one['loss']:.3f}" for one in by.values())
    print(f"| loss, all groups | {' | '.join(losses)} |")


def both(psnr: dict[str, Any]) -> str:
    """`41.2, 50.3`."""
    return ", ".join(one if isinstance(one, str) else f"{one:.1f}" for one in psnr.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="a folder for what is finished")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--pictures", type=int, default=6, metavar="N", help="in each of four groups")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    quiet_libraries()
    checkpoint = open_checkpoint(options.checkpoint)
    work = options.work / checkpoint.identity[:12]
    work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"checkpoint": checkpoint.identity, "size": SIZE, "steps": STEPS, "tools": versions()}
    found["precisions"] = {}
    for precision in options.precisions:
        told(f"{precision}: measuring")
        found["precisions"][precision] = measured(checkpoint, precision, work, options.pictures)
        if options.json is not None:
            write_atomic(options.json, json.dumps(found, indent=2).encode() + b"\n")
    print_tables(found["precisions"])


if __name__ == "__main__":
    main()
