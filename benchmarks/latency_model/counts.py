"""Counted works as a file, since counting all networks takes minutes."""

import json
from collections.abc import Mapping
from pathlib import Path

from dreamlite_mobile.latency.work import KINDS, Work

FOLDER = Path(__file__).parent


def write_works(path: Path, works: Mapping[str, Work]) -> None:
    """One line a network."""
    lines = [
        f" {json.dumps(name)}: " + json.dumps({
            "amounts": work.amounts, "operators": work.operators, "weights": work.weights,
            "touched": {str(size): times for size, times in sorted(work.touched.items())},
        })
        for name, work in works.items()
    ]  # fmt: skip
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def read_works(path: Path) -> dict[str, Work]:
    return {
        name: Work(
            {kind: one["amounts"][kind] for kind in KINDS},
            one["operators"],
            one["weights"],
            {int(size): times for size, times in one["touched"].items()},
        )
        for name, one in json.loads(path.read_text()).items()
    }
