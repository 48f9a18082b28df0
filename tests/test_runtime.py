"""The wrappers around ExecuTorch, onnxruntime and torch, and the mapped tables. Oracle: the torch module itself."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from executorch.exir import ExecutorchBackendConfig, to_edge
from sharded_bundle import sharded_folder
from small_bundle import components as bundle_components
from small_bundle import write_bundle
from standin import standin, standin_methods, write_pte

from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.bundle_checks import geometry
from dreamlite_mobile.components import MethodSpec, TensorSpec, component_specs, sample_inputs
from dreamlite_mobile.errors import BundleError, ConfigError, PromptError
from dreamlite_mobile.runtime import Component
from dreamlite_mobile.runtime.embeddings import EmbeddingTable, StepEmbeddings
from dreamlite_mobile.runtime.executorch import ExecuTorchComponent, check_version, set_threads
from dreamlite_mobile.runtime.load import load_component, load_embeddings, load_step_embeddings
from dreamlite_mobile.runtime.onnx import OnnxComponent
from dreamlite_mobile.runtime.torch import LazyTorchComponent, TorchComponent
from export.onnx import export_onnx

METHODS = standin_methods()
Make = Callable[[], Component]


@pytest.fixture(scope="module")
def pte(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pte(tmp_path_factory.mktemp("pte") / "standin.pte", standin(), METHODS)


@pytest.fixture(scope="module")
def onnx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx("standin", dict.fromkeys(METHODS, standin()), METHODS, folder)
    return folder


def onnx_paths(folder: Path) -> dict[str, Path]:
    return {method: folder / f"standin.{method}.onnx" for method in METHODS}


def expected(method: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    outputs = standin()(*(torch.from_numpy(inputs[spec.name]) for spec in METHODS[method].inputs))
    return {spec.name: out.numpy() for spec, out in zip(METHODS[method].outputs, outputs, strict=True)}


@pytest.fixture(params=["executorch", "onnx", "torch", "lazy torch"])
def component(request: pytest.FixtureRequest, pte: Path, onnx_folder: Path) -> Iterator[Component]:
    def reference() -> TorchComponent:
        return TorchComponent(dict.fromkeys(METHODS, standin()), METHODS, name="standin")

    makers: dict[str, Make] = {
        "executorch": lambda: ExecuTorchComponent(pte, METHODS, name="standin"),
        "onnx": lambda: OnnxComponent(onnx_paths(onnx_folder), METHODS, name="standin", threads=1),
        "torch": reference,
        "lazy torch": lambda: LazyTorchComponent(reference),
    }
    made = makers[request.param]()
    yield made
    made.unload()


@pytest.mark.parametrize("method", METHODS)
def test_every_runtime_equals_the_module(component: Component, method: str) -> None:
    inputs = sample_inputs(METHODS[method], seed=3)
    found, wanted = component.run(method, inputs), expected(method, inputs)
    assert list(found) == ["sum", "mean"]
    for name in wanted:
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-6)


def test_methods_alternate(component: Component) -> None:
    for method in ("generate", "edit", "generate"):
        inputs = sample_inputs(METHODS[method], seed=4)
        np.testing.assert_allclose(component.run(method, inputs)["sum"], expected(method, inputs)["sum"], atol=1e-5)


def test_outputs_belong_to_the_caller(component: Component) -> None:
    first = component.run("generate", sample_inputs(METHODS["generate"], seed=1))
    kept = {name: value.copy() for name, value in first.items()}
    component.run("generate", sample_inputs(METHODS["generate"], seed=2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, kept[name])
        value[...] = 0


def test_inputs_are_left_alone_and_may_be_views(component: Component) -> None:
    inputs = sample_inputs(METHODS["generate"], seed=1)
    turned = {name: np.asfortranarray(value) for name, value in inputs.items()}
    for value in turned.values():
        value.setflags(write=False)
    np.testing.assert_array_equal(component.run("generate", turned)["sum"], component.run("generate", inputs)["sum"])


def test_a_program_reads_its_input_where_another_gave_it(tmp_path: Path) -> None:
    """As the app chains shards: nothing is copied out in between, and each call gives its inputs anew."""
    from executorch.extension.pybindings import portable_lib

    from export.shared_inputs import SharedInputs

    planned = ExecutorchBackendConfig(memory_planning_pass=SharedInputs())
    value, loaded = torch.arange(6.0).reshape(2, 3), []
    for name, module in (("first", torch.nn.Sigmoid()), ("second", torch.nn.GELU())):
        program = to_edge(torch.export.export(module, (value,))).to_executorch(planned)
        (tmp_path / name).write_bytes(program.buffer)
        loaded.append(portable_lib._load_for_executorch(str(tmp_path / name)))
    for given in (value, -3 * value, value + 1):
        (handed,) = loaded[0].run_method("forward", (given,), clone_outputs=False)
        (found,) = loaded[1].run_method("forward", (handed,), clone_outputs=False)
        torch.testing.assert_close(found, torch.nn.functional.gelu(given.sigmoid()))


def test_a_chain_takes_views_too() -> None:
    """Inputs whose last axis does not lie closest together in memory."""
    bundle = open_bundle(sharded_folder() / "bundle")
    method = component_specs(geometry(bundle.manifest), ["generate"])["text_encoder"].methods["generate"]
    inputs = sample_inputs(method, 3)
    chain = load_component(bundle, "text_encoder")
    wanted = chain.run("generate", inputs)
    views = {name: np.asfortranarray(array) for name, array in inputs.items()}
    assert any(not view.flags["C_CONTIGUOUS"] for view in views.values())
    for name, found in chain.run("generate", views).items():
        np.testing.assert_array_equal(found, wanted[name])


def test_an_unknown_method_lists_the_known(component: Component) -> None:
    with pytest.raises(BundleError, match=r"unknown method 'genrate'; known: edit, generate. Did you mean 'generate'"):
        component.run("genrate", {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((1, 5, 32), np.float32)}, r"'x' has shape \[1, 5, 32\], expected \[1, 4, 32\]"),
        ({"x": np.zeros((1, 4, 32), np.float64)}, "'x' has dtype float64, expected float32"),
        ({"z": np.zeros(1, np.float32)}, r"input 'z' is not one of \['x', 'y'\]"),
        ({"y": None}, "input 'y' is missing"),
    ],
)
def test_wrong_inputs_are_named(component: Component, change: dict[str, np.ndarray | None], message: str) -> None:
    inputs = {**sample_inputs(METHODS["generate"], seed=1), **change}
    with pytest.raises(BundleError, match=message):
        component.run("generate", {name: value for name, value in inputs.items() if value is not None})


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (MethodSpec((TensorSpec("x", (1, 4, 32)),), METHODS["edit"].outputs), "2 inputs, the manifest 1"),
        (METHODS["edit"], r"has shape \[1, 4, 32\], expected \[1, 7, 32\]"),
    ],
)
def test_a_program_that_differs_from_the_manifest_is_refused(pte: Path, method: MethodSpec, message: str) -> None:
    component = ExecuTorchComponent(pte, {"generate": method}, name="unet")
    with pytest.raises(BundleError, match=f"unet.generate: .*{message}"):
        component.run("generate", sample_inputs(method, seed=1))


def test_a_model_with_other_names_is_refused(onnx_folder: Path) -> None:
    renamed = MethodSpec(METHODS["edit"].inputs, (TensorSpec("total", (1, 7, 32)), METHODS["edit"].outputs[1]))
    component = OnnxComponent(onnx_paths(onnx_folder), {"edit": renamed}, name="unet")
    with pytest.raises(BundleError, match=r"outputs are \['sum', 'mean'\], expected \['total', 'mean'\]"):
        component.run("edit", sample_inputs(renamed, seed=1))


@pytest.mark.parametrize("content", [None, b"", b"not a program at all", b"half"])
def test_a_damaged_program_is_a_bundle_error(
    pte: Path, onnx_folder: Path, tmp_path: Path, content: bytes | None
) -> None:
    for whole in (pte, onnx_folder / "standin.edit.onnx"):
        path = tmp_path / whole.name
        if content is not None:
            path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2] if content == b"half" else content)
        made: Component = (
            ExecuTorchComponent(path, METHODS, name="unet")
            if whole == pte
            else OnnxComponent({"edit": path}, METHODS, name="unet")
        )
        with pytest.raises(BundleError, match="unet.edit"):
            made.run("edit", sample_inputs(METHODS["edit"], seed=1))


def test_threads_are_set_before_loading_and_guarded_after(pte: Path) -> None:
    from executorch.extension.pybindings import portable_lib

    before = portable_lib._threadpool_get_thread_count()
    component = ExecuTorchComponent(pte, METHODS, name="unet", threads=1)
    component.load("generate")
    assert portable_lib._threadpool_get_thread_count() == 1
    with pytest.raises(ConfigError, match="in use by unet. Unload these first"):
        set_threads(2)
    set_threads(1)
    component.unload()
    set_threads(2)
    assert portable_lib._threadpool_get_thread_count() == 2
    set_threads(before)


def test_a_forgotten_component_frees_the_thread_pool(pte: Path) -> None:
    component = ExecuTorchComponent(pte, METHODS, threads=1)
    component.load("generate")
    del component
    set_threads(2)
    set_threads(1)


@pytest.mark.parametrize("threads", [0, -1])
def test_less_than_one_thread_is_refused(pte: Path, threads: int) -> None:
    with pytest.raises(ConfigError, match="1 to 256"):
        ExecuTorchComponent(pte, METHODS, threads=threads).load("generate")
    with pytest.raises(ConfigError, match="1 to 256"):
        OnnxComponent({}, METHODS, name="unet", threads=threads)


MEMORY = """
import json, sys
from pathlib import Path
from standin import standin_methods
from dreamlite_mobile.components import sample_inputs
from executorch.runtime import Runtime
from dreamlite_mobile.runtime.executorch import ExecuTorchComponent
def resident():
    return int(next(line for line in open('/proc/self/status') if line.startswith('VmRSS')).split()[1]) * 1024
METHODS = standin_methods(4096)
path = Path(sys.argv[1])
start = resident()
program = Runtime.get().load_program(path)
opened = resident()
del program
component = ExecuTorchComponent(path, METHODS, name='unet')
component.run('generate', sample_inputs(METHODS['generate'], 1))
loaded = resident()
component.unload()
print(json.dumps([opened - start, loaded - start, resident() - start]))
"""


def test_opening_maps_loading_packs_once_and_unloading_frees(tmp_path: Path) -> None:
    """The oracle is the resident memory of a process of its own."""
    width = 4096
    path = write_pte(tmp_path / "large.pte", standin(width, 1), {"generate": standin_methods(width)["generate"]})
    here = Path(__file__).parent
    size = path.stat().st_size
    assert size > 60_000_000
    done = subprocess.run([sys.executable, "-c", MEMORY, path], cwd=here, check=True, capture_output=True, text=True)
    opened, loaded, freed = json.loads(done.stdout)
    assert opened < 0.05 * size
    assert 0.9 * size < loaded < 1.4 * size
    assert freed < 0.25 * size


def table_bytes(values: np.ndarray, dtype: str) -> bytes:
    tensor = torch.from_numpy(values).to(getattr(torch, dtype))
    return tensor.view(torch.uint8 if dtype == "float32" else torch.int16).numpy().tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_embedding_rows_equal_torch(tmp_path: Path, dtype: str) -> None:
    values = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    (tmp_path / "table").write_bytes(table_bytes(values, dtype))
    table = EmbeddingTable(tmp_path / "table", 50, 8, dtype)  # type: ignore[arg-type]
    ids = np.array([3, 49, 3, 0])
    found = table.lookup(ids)
    wanted = torch.from_numpy(values).to(getattr(torch, dtype)).float()[ids].numpy()
    assert found.dtype == np.float32 and found.flags.writeable
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("ids", [[-1], [50], [0, 2**40], [0.5]])
def test_ids_outside_the_table_are_refused(tmp_path: Path, ids: list[float]) -> None:
    (tmp_path / "table").write_bytes(bytes(50 * 8 * 4))
    with pytest.raises(PromptError, match="token id"):
        EmbeddingTable(tmp_path / "table", 50, 8, "float32").lookup(np.array(ids))


@pytest.mark.parametrize("size", [None, 0, 50 * 8 * 4 - 1])
def test_a_table_of_another_size_is_refused(tmp_path: Path, size: int | None) -> None:
    if size is not None:
        (tmp_path / "table").write_bytes(bytes(size))
    with pytest.raises(BundleError, match="table: "):
        EmbeddingTable(tmp_path / "table", 50, 8, "float32")


def test_step_rows_follow_the_rule(tmp_path: Path) -> None:
    wanted = [(steps, index) for steps in range(1, 51) for index in range(steps)]
    np.array(wanted, "<f4").tofile(tmp_path / "steps")
    table = StepEmbeddings(tmp_path / "steps", 2)
    for steps, index in wanted:
        np.testing.assert_array_equal(table.row(steps, index), [[steps, index]])


@pytest.mark.parametrize(("steps", "index"), [(0, 0), (51, 0), (4, 4), (4, -1)])
def test_steps_outside_the_table_are_refused(tmp_path: Path, steps: int, index: int) -> None:
    (tmp_path / "steps").write_bytes(bytes(1275 * 2 * 4))
    with pytest.raises(ConfigError, match=f"step {index} of {steps}"):
        StepEmbeddings(tmp_path / "steps", 2).row(steps, index)


def test_a_bundle_gives_its_components_and_tables(tmp_path: Path) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "bundle"))
    for name in bundle_components():
        assert isinstance(load_component(bundle, name), ExecuTorchComponent)
    assert load_embeddings(bundle).lookup(np.array([1])).shape == (1, 16)
    assert load_step_embeddings(bundle).row(4, 1).shape == (1, 32)


def test_another_executorch_is_refused() -> None:
    with pytest.raises(BundleError, match=r"compiled for executorch 1.4.0, installed is 1.5.1"):
        check_version(Path("bundle"), "1.4.0")
