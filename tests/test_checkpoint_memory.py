"""Peak memory of loading, measured in a process of its own. Oracle: the kernel (VmHWM)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoint_files import (
    raw_tensor_file,
)

from dreamlite_mobile.tensorfiles import ITEM_BYTES

MEASURE = """
import sys, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
from checkpoint_files import checkpoint_of
from dreamlite_mobile.config import TINY

def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

{prepare}
checkpoint = checkpoint_of(Path({file!r}), TINY)
with torch.device("meta"):
    module = torch.nn.ModuleList([torch.nn.Linear(4096, {rows}, bias=False) for _ in range({count})])
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
checkpoint.load("unet", module, filled(module))
print(status("VmHWM") - before, sum(p.nbytes for p in module.parameters()))
"""


LEAVE = "filled = lambda module: lambda name, layer: None"
QUANTISE = """
from export.quantize import quantiser
filled = quantiser("unet", "w8")
one = torch.nn.Sequential(torch.nn.Linear(8, 8))
filled(one)("0", one[0])  # what it imports is not what is measured
"""


@pytest.mark.parametrize(("dtype", "bound"), [("F16", 1.25), ("F32", 0.25)])
def test_loading_never_holds_two_copies(dtype: str, bound: float, tmp_path: Path) -> None:
    """Peak memory of a process that loads 270 MB of float16: the float32 it makes of them; of float32: one tensor."""
    growth, loaded = grown(tmp_path / "t.safetensors", dtype, 8, LEAVE)
    assert growth <= bound * loaded + 64e6


def test_quantising_while_loading_holds_one_layer_in_float32(tmp_path: Path) -> None:
    """Of 16 layers (1.1 GB in float32) the codes of all, a quarter, up to 0.4 GB that making those of one takes, and as
    much of the mapped file as the kernel leaves there: on a busy machine 0.9 GB were seen. Whole they would be 1.3."""
    growth, loaded = grown(tmp_path / "t.safetensors", "F16", 16, QUANTISE)
    assert growth <= loaded


def grown(file: Path, dtype: str, count: int, prepare: str) -> tuple[int, int]:
    """Peak growth of a process that loads so many layers of 4096 x 4096, and their bytes in float32."""
    rows = 4096
    size = 4096 * rows * ITEM_BYTES[dtype]
    header = {
        f"{i}.weight": {"dtype": dtype, "shape": [rows, 4096], "data_offsets": [i * size, (i + 1) * size]}
        for i in range(count)
    }
    raw = json.dumps(header).encode()
    raw_tensor_file(file, raw + b" " * (-len(raw) % 8), b"")
    os.truncate(file, file.stat().st_size + count * size)
    script = MEASURE.format(tests=str(Path(__file__).parent), file=str(file), rows=rows, count=count, prepare=prepare)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment, timeout=300
    )
    growth, read = map(int, result.stdout.split())
    assert read == 4096 * rows * count * 4
    return growth, read
