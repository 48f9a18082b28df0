"""Every kind of file opens in its own project's reader: ONNX's checker, coremltools, ExecuTorch's deserialiser."""

from pathlib import Path

import coremltools
import onnx
import pytest
from bundles import exported
from coremltools.converters.mil.frontend.milproto.load import load as program_of
from coremltools.libmodelpackage import ModelPackage
from executorch.exir._serialize._program import deserialize_pte_binary

from dreamlite_mobile.bundle import Bundle, open_bundle, verify_bundle
from dreamlite_mobile.components import COMPONENTS


def method_files(bundle: Bundle, component: str) -> dict[str, Path]:
    return {name: bundle.file(entry.file) for name, entry in bundle.component(component).methods.items()}


@pytest.mark.parametrize("component", COMPONENTS)
def test_onnx_checker_accepts_every_graph(component: str) -> None:
    bundle = open_bundle(exported("fp32", "onnx"), verify="quick")
    for method, file in method_files(bundle, component).items():
        onnx.checker.check_model(file, full_check=True)
        graph = onnx.load(file, load_external_data=False).graph
        tensors = bundle.component(component).methods[method].inputs
        assert [value.name for value in graph.input] == [tensor.name for tensor in tensors]


@pytest.mark.coreml
@pytest.mark.parametrize("component", ["text_encoder", "vision_encoder", "vae_encoder", "vae_decoder", "unet"])
def test_coremltools_opens_every_package(component: str) -> None:
    """Its package library finds the model; its loader rebuilds every operator, weights included."""
    bundle = open_bundle(exported("fp16", "coreml"), verify="quick")
    for file in set(method_files(bundle, component).values()):
        package = file.parents[2]
        assert Path(ModelPackage(str(package)).getRootModel().path()) == file
        spec = coremltools.utils.load_spec(str(package))
        assert spec.specificationVersion == coremltools.target.iOS18
        program = program_of(spec, spec.specificationVersion, str(file.parent / "weights"))
        methods = bundle.component(component).methods
        assert set(program.functions) == (set(methods) if len(methods) > 1 else {"main"})
        for function in program.functions.values():
            assert len(function.operations) > 10
            assert {str(output.dtype.__name__) for output in function.outputs} == {"fp32"}
    assert verify_bundle(bundle.path) == [], "opening a package writes its Manifest.json again"


@pytest.mark.parametrize("component", COMPONENTS)
def test_executorch_deserialises_every_pte(component: str) -> None:
    bundle = open_bundle(exported("fp32"), verify="quick")
    for file in set(method_files(bundle, component).values()):
        program = deserialize_pte_binary(file.read_bytes()).program
        assert {plan.name for plan in program.execution_plan} == set(bundle.component(component).methods)
        assert {delegate.id for plan in program.execution_plan for delegate in plan.delegates} == {"XnnpackBackend"}
