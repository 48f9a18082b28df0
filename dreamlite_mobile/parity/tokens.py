"""The token table of a bundle against the checkpoint's, where it is stored in other numbers."""

import time

import numpy as np

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_fields import TableDtype
from dreamlite_mobile.checkpoint import Checkpoint
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.parity.rows import Row, digest
from dreamlite_mobile.runtime.load import load_embeddings

TOKENS = "token_embeddings"
"""The name of the table among components."""
SAMPLED_ROWS = 512
SEED = 1


def table_precision(found: TableDtype, stored: TableDtype) -> str:
    """The precision whose floors hold for a table: one in the checkpoint's own numbers loses nothing."""
    if found == stored:
        return "fp32"
    return "w8" if found == "int8" else "fp16"


def token_precision(bundle: Bundle, checkpoint: Checkpoint) -> str:
    """The precision of the bundle's table, `fp32` where it has none."""
    entry = bundle.manifest.embeddings
    return "fp32" if entry is None else table_precision(entry.dtype, checkpoint.embedding_rows().dtype)


def token_rows(bundle: Bundle, checkpoint: Checkpoint) -> list[Row]:
    """A sample of rows, compared; nothing where the table holds the checkpoint's own numbers."""
    entry, precision = bundle.manifest.embeddings, token_precision(bundle, checkpoint)
    if entry is None or precision == "fp32":
        return []
    count = min(SAMPLED_ROWS, entry.rows)
    ids = np.sort(np.random.default_rng(SEED).choice(entry.rows, count, replace=False))
    begin = time.perf_counter()
    found = load_embeddings(bundle).lookup(ids)
    seconds = time.perf_counter() - begin
    metrics = compare(found, checkpoint.embedding_rows().lookup(ids.tolist()))
    pair = f"{bundle.manifest.backend} vs torch"
    return [Row(TOKENS, "lookup", "rows", precision, pair, metrics, digest({"ids": ids}), seconds)]
