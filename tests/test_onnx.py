"""The ONNX export of every tiny component. Oracle: the same modules in torch, and the ONNX checker."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from standin import standin, standin_methods
from torch import nn

from dreamlite_mobile.assembly import text_encoder, text_layout
from dreamlite_mobile.components import COMPONENTS, Geometry, MethodSpec, TensorSpec, component_specs, sample_inputs
from dreamlite_mobile.config import TINY
from dreamlite_mobile.errors import ExportError
from dreamlite_mobile.networks import build, fold
from dreamlite_mobile.networks.form import ONNX
from dreamlite_mobile.networks.text import TextTower
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.runtime.onnx import OnnxComponent
from dreamlite_mobile.runtime.torch import TorchComponent
from export.onnx import OPSET, export_onnx

CONFIG = replace(TINY, text=replace(TINY.text, num_layers=2))
GEOMETRY = Geometry(CONFIG, 96, 64, drop_generate=6, drop_edit=9, states_generate=20, states_edit=90)
SPECS = {**component_specs(GEOMETRY), **component_specs(GEOMETRY, ["edit"], ["unet"])}
"""The U-Net in one mode only: its two graphs differ in one length, and an export takes a quarter of a minute."""
METHODS = standin_methods()


def tiny_modules(name: str) -> dict[str, nn.Module]:
    """The component's methods with seeded weights of plausible size."""
    torch.manual_seed(0)
    network = build(name, CONFIG, ONNX).to_empty(device="cpu")
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
            parameter.copy_(torch.randn(parameter.shape) * scale + (parameter.ndim == 1 and key.endswith("weight")))
    network = fold(network)
    if not isinstance(network, TextTower):
        return dict.fromkeys(SPECS[name].methods, network)
    return {mode: text_encoder(network, text_layout(GEOMETRY, mode)) for mode in SPECS[name].methods}


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_component_reaches_the_fp32_floor(name: str, tmp_path: Path) -> None:
    modules, methods = tiny_modules(name), SPECS[name].methods
    files = export_onnx(name, modules, methods, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files.all)
    paths = {method: tmp_path / file for method, file in files.methods.items()}
    found, reference = OnnxComponent(paths, methods, name=name), TorchComponent(modules, methods, name=name)
    for method, spec in methods.items():
        inputs = sample_inputs(spec, seed=5)
        outputs = found.run(method, inputs)
        for output, wanted in reference.run(method, inputs).items():
            metrics = compare(outputs[output], wanted)
            assert metrics.defects == () and metrics.snr_db > 100.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx")
    export_onnx("standin", dict.fromkeys(METHODS, standin()), METHODS, path)
    return path


def test_methods_share_their_weights(folder: Path) -> None:
    weights = 2 * 32 * 32 * 4
    assert weights <= (folder / "standin.onnx.data").stat().st_size <= weights + 128
    for method in METHODS:
        assert (folder / f"standin.{method}.onnx").stat().st_size < weights
        graph = onnx.load(folder / f"standin.{method}.onnx", load_external_data=False).graph
        outside = [tensor for tensor in graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
        assert {entry.value for t in outside for entry in t.external_data if entry.key == "location"} == {
            "standin.onnx.data"
        }


def test_opset_and_static_shapes_are_as_stated(folder: Path) -> None:
    model = onnx.load(folder / "standin.edit.onnx", load_external_data=False)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", OPSET)]
    assert [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [1, 7, 32]


def test_nothing_of_this_machine_is_inside(folder: Path) -> None:
    for path in folder.iterdir():
        data = path.read_bytes()
        assert b"/work" not in data and b"standin.py" not in data and str(Path(__file__).parent).encode() not in data


def test_the_same_module_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    export_onnx("standin", dict.fromkeys(METHODS, standin()), METHODS, tmp_path)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_nothing_is_printed_to_stdout(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export_onnx("standin", {"generate": standin()}, {"generate": METHODS["generate"]}, tmp_path)
    assert capfd.readouterr().out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["standin.onnx", "standin.onnx.data"]


def test_a_moved_folder_still_runs(folder: Path, tmp_path: Path) -> None:
    """External data is found beside the model, wherever the process stands."""
    script = (
        "import sys, numpy, onnxruntime\n"
        "session = onnxruntime.InferenceSession(sys.argv[1])\n"
        "session.run(None, {'x': numpy.ones((1, 7, 32), 'f'), 'y': numpy.ones((1, 32), 'f')})\n"
    )
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in folder.iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    subprocess.run([sys.executable, "-c", script, moved / "standin.edit.onnx"], cwd="/", check=True)


class Branching(nn.Module):
    """A branch on data, which cannot be exported."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (x, x.sum(-1)) if x.sum() > 0 else (y + x, x.mean(-1))


def test_what_cannot_be_exported_is_an_export_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="unet.edit: cannot be exported to ONNX"):
        export_onnx("unet", {"edit": Branching().eval()}, {"edit": METHODS["edit"]}, tmp_path)


def test_outputs_of_another_shape_are_an_export_error(tmp_path: Path) -> None:
    wrong = MethodSpec(METHODS["edit"].inputs, (TensorSpec("sum", (1, 7, 32)), TensorSpec("mean", (1, 8))))
    with pytest.raises(ExportError, match=r"outputs are .*'mean \[1, 7\]'.*expected .*'mean \[1, 8\]'"):
        export_onnx("unet", {"edit": standin()}, {"edit": wrong}, tmp_path)


def test_the_referee_differs_where_the_weights_differ(folder: Path) -> None:
    """The comparison can fail: one weight moved by a thousandth falls below the floor."""
    spoilt = standin()
    with torch.no_grad():
        spoilt.layers[0].weight[0, 0] += 1e-3
    inputs = sample_inputs(METHODS["edit"], seed=1)
    found = OnnxComponent({"edit": folder / "standin.edit.onnx"}, METHODS, name="standin").run("edit", inputs)
    wanted = TorchComponent({"edit": spoilt}, METHODS, name="standin").run("edit", inputs)
    assert compare(found["mean"], wanted["mean"]).snr_db < 100.0
    assert math.isfinite(float(np.sum(found["sum"])))
