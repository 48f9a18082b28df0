"""The folder of golden vectors, with the digest of every file in it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dreamlite_mobile.files import staged_folder
from dreamlite_mobile.golden.bench import bench_cases
from dreamlite_mobile.golden.manifests import manifest_cases
from dreamlite_mobile.golden.numbers import noise_cases, schedule_cases
from dreamlite_mobile.golden.pictures import picture_cases
from dreamlite_mobile.golden.tokens import prompt_cases, token_cases

DIGESTS = "golden.sha256"
"""In the format of `sha256sum`; a reader compares before it believes a file."""


def write_golden(
    out: Path, tokenizers: Mapping[str, Path], bundle: Path | None = None, *, replace: bool = False
) -> dict[str, str]:
    """Write the vectors into `out`, whole or not at all; returns the digest of every file.

    Args:
        tokenizers: name of each -> its `tokenizer.json`.
        bundle: gives manifest cases, and pictures to make again through another runtime.
        replace: replace a folder of golden vectors that is there.

    Raises:
        OutputError: the place cannot be written or is taken. PromptError, BundleError: an input that cannot be used.
    """
    with staged_folder(out, replace=replace and (out / DIGESTS).is_file()) as folder:
        digests = {name: _write(folder, name, data) for name, data in sorted(_files(tokenizers, bundle).items())}
        (folder / DIGESTS).write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    return digests


def _files(tokenizers: Mapping[str, Path], bundle: Path | None) -> dict[str, bytes]:
    pictures, files = picture_cases()
    documents = {
        "noise.json": noise_cases(),
        "schedule.json": schedule_cases(),
        "pictures.json": pictures,
        "bench.json": bench_cases(),
    }
    for name, path in tokenizers.items():
        documents[f"tokenizer/{name}/prompts.json"] = prompt_cases(path)
        files[f"tokenizer/{name}/texts.jsonl"] = token_cases(path).encode()
        files[f"tokenizer/{name}/tokenizer.json"] = path.read_bytes()
    if bundle is not None:
        from dreamlite_mobile.golden.runs import run_files

        documents["manifests.json"] = manifest_cases(bundle)
        files |= {f"runs/{name}": data for name, data in run_files(bundle).items()}
    return files | {name: _json(document) for name, document in documents.items()}


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _write(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()
