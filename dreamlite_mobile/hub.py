"""From what the user typed to a local checkpoint folder: a folder as it is, a hub id through `huggingface_hub`."""

import os
import re
from pathlib import Path

from dreamlite_mobile.errors import CheckpointError

PUBLISHED = "carlofkl/DreamLite-mobile"
REVISIONS = {PUBLISHED: "diffusers"}
"""The branch that holds the diffusers layout; the published repository's `main` holds another one."""

FILES = (
    "model_index.json",
    "*/*.json",
    "*/*.txt",
    "*/*.jinja",
    "unet/*.safetensors",
    "vae/*.safetensors",
    "text_encoder/*.safetensors",
)
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def resolve_checkpoint(source: str | Path, revision: str | None = None, *, offline: bool | None = None) -> Path:
    """The local folder of a checkpoint.

    Args:
        source: a local folder, or a hub id (owner/name). A `Path`, an absolute or dotted path and anything whose
            first part is a folder here is taken for local and never looked up.
        revision: hub branch, tag or commit; by default the pinned one of the published checkpoint, else `main`.
        offline: use only what is cached; by default what HF_HUB_OFFLINE says.

    Raises:
        CheckpointError: no such folder, or the hub could not give it; says how to pass a local folder.
    """
    local = Path(source).expanduser()
    try:
        if source != "" and local.is_dir():
            if revision is not None:
                raise CheckpointError(f"--revision {revision}: {source} is a local folder; a revision is for a hub id")
            return local
        if source != "" and local.exists():
            raise CheckpointError(
                f"{source} is a file; supported: a checkpoint folder in diffusers layout, or a hub id"
            )
        is_hub_id = isinstance(source, str) and HUB_ID.fullmatch(source) and not Path(source).parent.is_dir()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{source!r} is no usable path: {error}") from error
    if not is_hub_id:
        raise CheckpointError(
            f"checkpoint folder {str(source)!r} does not exist; supported: a local folder in diffusers layout (make "
            f"one with `dreamlite make-checkpoint`), or a hub id such as {PUBLISHED}"
        )
    return _download(str(source), revision or REVISIONS.get(str(source), "main"), offline)


def _download(hub_id: str, revision: str, offline: bool | None) -> Path:
    from huggingface_hub import constants, errors, snapshot_download

    # read afresh: huggingface_hub reads the variable once, when it is first imported
    asked = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    cached_only = (asked or constants.is_offline_mode()) if offline is None else offline
    try:
        folder = snapshot_download(hub_id, revision=revision, allow_patterns=list(FILES), local_files_only=cached_only)
    except _network_errors() as error:
        gated = "access to it is gated, " if isinstance(error, errors.GatedRepoError) else ""
        reason = gated + _first_line(error)
    else:
        return Path(folder)
    how = "it is not in the local cache and offline mode is on" if cached_only else f"the hub did not give it: {reason}"
    raise CheckpointError(
        f"{hub_id} (revision {revision}): {how}. Download it where there is a network "
        f"(`hf download {hub_id} --revision {revision} --local-dir FOLDER`) and pass FOLDER, a local folder, instead"
    )


def _network_errors() -> tuple[type[Exception], ...]:
    """What huggingface_hub lets through, with the base error of whichever HTTP library this release of it uses."""
    from huggingface_hub import errors

    http = tuple(base for base in errors.HfHubHTTPError.__bases__ if issubclass(base, Exception))
    return (*http, errors.RevisionResolutionError, errors.XetDownloadError, OSError, ValueError)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
