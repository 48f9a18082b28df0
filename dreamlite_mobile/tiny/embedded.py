"""The embedded checkpoint: a DreamLite of a few million parameters at the published classes, inside this package.

It is a checkpoint folder like any other, in diffusers' layout, and is loaded like any other. `training.json` beside its
`model_index.json` says what its weights came from; without finished stages there they are seeded and untrained.
"""

import filecmp
import json
import shutil
from pathlib import Path
from typing import Any

from dreamlite_mobile.files import staged_folder
from dreamlite_mobile.synthetic import check_target

PACKAGED = Path(__file__).with_name("checkpoint")
RECORD = "training.json"


def embedded_checkpoint(folder: Path) -> Path:
    """Put a copy of the embedded checkpoint into `folder`, unless it is there already; returns the folder.

    Raises:
        OutputError: the place cannot be written, or holds something else than a checkpoint.
    """
    files = [file.relative_to(PACKAGED) for file in sorted(PACKAGED.rglob("*")) if file.is_file()]
    if all((folder / file).is_file() and filecmp.cmp(PACKAGED / file, folder / file, shallow=False) for file in files):
        return folder
    check_target(folder, force=True)
    with staged_folder(folder, replace=folder.is_dir()) as staging:
        for file in files:
            (staging / file).parent.mkdir(exist_ok=True)
            shutil.copyfile(PACKAGED / file, staging / file)
    return folder


def training_record(checkpoint: Path = PACKAGED) -> dict[str, Any]:
    """What `tiny.train` wrote of how the weights came about."""
    found: dict[str, Any] = json.loads((checkpoint / RECORD).read_text(encoding="utf-8"))
    return found


def told(record: dict[str, Any]) -> str:
    """A sentence or two about the weights."""
    stages = stages_of(record)
    if not stages:
        return f"The embedded checkpoint has seeded, untrained weights ({record['command']}): it cannot draw yet."
    steps = sum(stage["step"] for stage in stages)
    names = ", ".join(dict.fromkeys(stage["stage"] for stage in stages))
    unfinished = "" if is_distilled(record) else " It is not distilled yet: in four steps it draws blurred."
    return (
        f"The embedded checkpoint was trained for {steps:,} steps ({names}) at commit {record['commit'][:12]}: "
        f"{record['command']}.{unfinished}"
    )


def is_distilled(record: dict[str, Any]) -> bool:
    """Whether the weights have been through the whole recipe."""
    return any(stage["stage"] == "distil" for stage in stages_of(record))


def stages_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Every stage the weights have been through, those of the run they began with first."""
    before = record.get("before")
    return [*([] if before is None else stages_of(before)), *record["stages"]]
