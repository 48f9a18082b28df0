"""A bundle against torch in fp32, as benchmarks tell it: components and whole pictures, the worst of each output."""

import sys
from contextlib import ExitStack
from typing import Any

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_checks import geometry
from dreamlite_mobile.checkpoint import Checkpoint
from dreamlite_mobile.cli.judge import Judgement, JudgeRequest, judge_pictures, side_of
from dreamlite_mobile.components import component_specs
from dreamlite_mobile.parity.reference import reference_components
from dreamlite_mobile.parity.rows import Row
from dreamlite_mobile.parity.run import Side, compare_components, sample_cases, worst_rows
from dreamlite_mobile.parity.schema import level
from dreamlite_mobile.parity.thresholds import complaint, measured_and_floor


def compared(bundle: Bundle, checkpoint: Checkpoint) -> list[Row]:
    """Every component on samples and on a real run, and whole pictures, against torch: the worst of each output."""
    request = JudgeRequest(bundle.path)
    judgement = Judgement(bundle, request, bundle.path.name)
    shape, modes = geometry(bundle.manifest), list(bundle.manifest.modes)
    cases = sample_cases(component_specs(shape, modes))
    with ExitStack() as stack:
        sides = [
            Side("torch", reference_components(checkpoint, shape, modes)),
            side_of(bundle, checkpoint, stack, request, list(bundle.manifest.components)),
        ]
        judge_pictures(judgement, bundle, checkpoint, sides, modes, cases)
        for rows in compare_components(sides[0], sides[1:], cases, notify=told):
            judgement.rows.extend(rows)
    return worst_rows(judgement.rows)


def row_json(row: Row) -> dict[str, Any]:
    """One output at its worst input."""
    metric, measured, least = measured_and_floor(row)
    return {
        "output": f"{row.component}.{row.method} {row.output}",
        "precision": row.precision,
        "metric": metric,
        "db": level(measured),
        "floor_db": least,
        "worst_input": row.origin,
        "passed": complaint(row) is None,
    }


def decibels(row: dict[str, Any]) -> str:
    """`49.8 (45)`, in bold where it is below its floor."""
    text = row["db"] if isinstance(row["db"], str) else f"{row['db']:.1f}"
    return f"{text if row['passed'] else f'**{text}**'} ({row['floor_db']:g})"


def told(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)
