"""The embedded checkpoint: a DreamLite of a few million parameters at the published classes.

Its weights are seeded, not trained: it proves arithmetic, and its pictures are coloured noise.
"""

from pathlib import Path

from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.errors import CheckpointError
from dreamlite_mobile.synthetic import make_checkpoint

SEED = 0


def embedded_checkpoint(folder: Path) -> Path:
    """Put the embedded checkpoint into `folder`, or use the sound one that is there; returns the folder.

    Raises:
        OutputError: the place cannot be written or holds something else.
    """
    if folder.is_dir():
        try:
            return open_checkpoint(folder).path
        except CheckpointError:
            return make_checkpoint("tiny", SEED, folder, force=True)
    return make_checkpoint("tiny", SEED, folder)
