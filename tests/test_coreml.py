"""The tiny checkpoint in Core ML packages, through the evaluator: parity, commands, what packages say of themselves.

Oracles: our networks in torch fp32; coremltools' message classes.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import SIZE, exported
from checkpoint_files import tiny_checkpoint
from coremltools.proto import Model_pb2
from PIL import Image

from dreamlite_mobile.bundle import Bundle, open_bundle, verify_bundle
from dreamlite_mobile.bundle_files import write_manifest
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.cli.judge import JudgeRequest, judge
from dreamlite_mobile.components import COMPONENTS, component_specs, sample_inputs
from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.networks import build
from dreamlite_mobile.networks.form import REFERENCE
from dreamlite_mobile.parity.thresholds import check
from dreamlite_mobile.runtime.coreml import CoreMLComponent, NativeProgram
from dreamlite_mobile.runtime.load import load_component
from dreamlite_mobile.runtime.mil.program import read_program
from export.driver import ExportRequest, plan_export, run_export

pytestmark = pytest.mark.coreml


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(exported("fp16", "coreml"))


def model_of(bundle: Bundle, component: str) -> Any:
    (program,) = {entry.file for entry in bundle.component(component).methods.values()}
    return Model_pb2.Model.FromString(bundle.file(program).read_bytes())


def test_every_component_and_whole_pictures_reach_their_floors(run, bundle: Bundle) -> None:
    """45 dB and more in fp16; on samples and on everything that a real run gave each component."""
    found = run(
        "parity", bundle.path, "--checkpoint", tiny_checkpoint(), "--referee", exported("fp32", "onnx"), "--json"
    )
    assert found.code == 0, found.err
    rows = [row for row in found.data["bundles"][0]["parity"] if row["pair"] == "coreml vs torch"]
    methods = {(name, method) for name, part in bundle.manifest.components.items() for method in part.methods}
    assert len(methods) == 7
    for origin in ("sample", "run"):
        assert methods <= {(row["component"], row["method"]) for row in rows if row["origin"].startswith(origin)}
    assert all(row["floor_db"] >= 45 and row["precision"] == "fp16" for row in rows)
    assert {"pipeline", "picture"} <= {row["component"] for row in rows}


def test_a_size_that_is_not_square_reaches_the_floors(tmp_path: Path) -> None:
    """96 wide, 64 high: exported, evaluated and judged; on seeded samples, since the towers are left out."""
    request = ExportRequest(
        open_checkpoint(tiny_checkpoint()),
        "tiny",
        "coreml",
        width=96,
        height=64,
        modes=("generate",),
        components=("unet", "vae_decoder"),
    )
    made = run_export(plan_export(request), tmp_path / "wide").bundle
    assert made.component("vae_decoder").methods["forward"].outputs[0].shape == (1, 3, 64, 96)
    rows = judge(JudgeRequest(made.path, str(tiny_checkpoint()))).rows
    check(rows)
    assert {row.output for row in rows if row.pair == "coreml vs torch"} == {"velocity", "image"}


def test_the_manifest_says_what_a_phone_needs(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert (manifest.backend, manifest.target, manifest.needs.ios, manifest.needs.macos) == (
        "coreml",
        "ios",
        "18.0",
        "15.0",
    )
    assert manifest.tools.coremltools == "9.0"
    assert manifest.coreml is not None and manifest.coreml.compute_units == "cpu_and_neural_engine"
    assert verify_bundle(bundle.path) == []


@pytest.mark.parametrize("component", COMPONENTS)
def test_packages_describe_themselves(bundle: Bundle, component: str) -> None:
    """Author, licence, version; every input and output of every function with its meaning and shape."""
    model = model_of(bundle, component)
    about = model.description.metadata
    assert about.author == "dreamlite_mobile" and "Apache-2.0" in about.license and about.versionString
    assert about.userDefined["compute_units"] == "cpu_and_neural_engine"
    functions = {function.name: function for function in model.description.functions} or {"forward": model.description}
    methods = bundle.component(component).methods
    assert set(functions) == set(methods)
    for name, entry in methods.items():
        features = [*functions[name].input, *functions[name].output]
        tensors = [*entry.inputs, *entry.outputs]
        assert [feature.name for feature in features] == [tensor.name for tensor in tensors]
        for feature, tensor in zip(features, tensors, strict=True):
            assert feature.shortDescription.endswith(f"float32 {list(tensor.shape)}")
            assert "handed on" not in feature.shortDescription


@pytest.mark.parametrize("component", ["text_encoder", "unet"])
def test_functions_share_their_weights(bundle: Bundle, component: str) -> None:
    """Rotary tables and masks weigh something beside tiny weights; a second copy would double them."""
    config = open_checkpoint(tiny_checkpoint()).config
    weights = sum(tensor.numel() for tensor in build(component, config, REFERENCE).state_dict().values()) * 2
    stored = bundle.file(f"{component}.mlpackage/Data/com.apple.CoreML/weights/weight.bin").stat().st_size
    assert weights * 0.95 <= stored <= weights * 1.5


def test_nothing_of_this_machine_or_day_is_inside(bundle: Bundle) -> None:
    for file in bundle.manifest.files:
        if ".mlpackage/" in file and not file.endswith("weight.bin"):
            data = bundle.file(file).read_bytes()
            assert str(Path.cwd()).encode() not in data and b"site-packages" not in data
            assert b"conversion_date" not in data


def test_pictures_are_drawn_and_say_that_no_phone_was_there(run, bundle: Bundle, tmp_path: Path) -> None:
    drawn = run("generate", bundle.path, "a red circle", "--out", tmp_path / "a.png", "--steps", 2, "--json")
    assert drawn.code == 0 and drawn.data["steps"] == 2
    assert "there is no Core ML here" in drawn.err
    edited = run(
        "edit", bundle.path, tmp_path / "a.png", "in blue", "--out", tmp_path / "b.png", "--steps", 1, "--json"
    )
    assert edited.code == 0, edited.err
    picture = Image.open(tmp_path / "b.png")
    assert (
        picture.size == (SIZE, SIZE)
        and picture.text["backend"] == "coreml"
        and "unet=fp16" in picture.text["precision"]
    )


def test_score_runs_through_the_packages(run, bundle: Bundle) -> None:
    found = run("score", bundle.path, "--prompts", 1, "--steps", 1, "--json")
    assert found.code == 0, found.err
    assert found.data["source"] == str(bundle.path)


def test_fp32_rounding_is_closer_to_torch(bundle: Bundle) -> None:
    """What is left in fp32 is the rounding of the weights."""
    checkpoint = open_checkpoint(tiny_checkpoint())
    from dreamlite_mobile.bundle_checks import geometry
    from dreamlite_mobile.parity.metrics import compare
    from dreamlite_mobile.parity.reference import reference_components

    shape = geometry(bundle.manifest)
    inputs = sample_inputs(component_specs(shape)["vision_encoder"].methods["forward"], 1)
    expected = reference_components(checkpoint, shape, ["edit"])["vision_encoder"].run("forward", inputs)
    found = {
        rounding: load_component(bundle, "vision_encoder", rounding=rounding).run("forward", inputs)
        for rounding in ("fp16", "fp32")
    }
    snr = {rounding: compare(one["deepstack"], expected["deepstack"]).snr_db for rounding, one in found.items()}
    assert snr["fp32"] > snr["fp16"] + 3


def test_inspect_shows_needs(run, bundle: Bundle) -> None:
    found = run("inspect", bundle.path)
    assert found.code == 0 and "ios 18.0" in found.out and "coreml (ios)" in found.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--precision", "fp32"), "cannot be 'fp32' with this backend; supported: fp16, w8"),
        (("--precision", "vision_encoder=p4"), "vision_encoder cannot be 'p4' with this backend; supported: fp16, w8"),
        (("--package-mb", "0"), "--package-mb 0: expected a positive number"),
        (("--soc", "SM8650"), "coreml files are for every chip"),
        (("--backend", "onnx", "--package-mb", "9"), "--package-mb 9: onnx files are not cut"),
    ],
)
def test_what_cannot_be_is_refused_before_work(run, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    found = run("export", tiny_checkpoint(), "--out", tmp_path / "b", "--backend", "coreml", "--size", SIZE, *options)
    assert found.code == 1 and message in found.err
    assert not list(tmp_path.iterdir())


def test_an_unknown_rounding_is_refused(run, bundle: Bundle, tmp_path: Path) -> None:
    found = run("generate", bundle.path, "a", "--out", tmp_path / "a.png", "--rounding", "bf16")
    assert found.code == 1 and "unknown rounding 'bf16'; known: fp16, fp32" in found.err


def test_a_weight_too_large_for_a_package_is_an_error_that_leaves_nothing(run, tmp_path: Path) -> None:
    from dreamlite_mobile.errors import ExportError

    request = ExportRequest(
        open_checkpoint(tiny_checkpoint()), "tiny", "coreml", SIZE, SIZE, components=("vae_decoder",), package_mb=1
    )
    plan = plan_export(request)
    plan.exporter.coreml = plan.exporter.coreml.model_copy(update={"package_limit_bytes": 1000})
    with pytest.raises(ExportError, match="a single weight takes more than the 0.001 MB"):
        run_export(plan, tmp_path / "b")
    assert not list(tmp_path.iterdir())


def copied(bundle: Bundle, folder: Path) -> Path:
    return Path(shutil.copytree(bundle.path, folder / "copy"))


def test_verify_names_a_changed_file_inside_a_package(run, bundle: Bundle, tmp_path: Path) -> None:
    folder = copied(bundle, tmp_path)
    inside = "vae_decoder.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    data = bytearray((folder / inside).read_bytes())
    data[-1] ^= 1
    (folder / inside).write_bytes(data)
    (folder / "vae_decoder.mlpackage" / "more.json").write_text("{}")
    found = run("verify", folder, "--json")
    assert found.code == 1
    problems = " ".join(found.data["problems"])
    assert (
        f"'{inside}' has sha256" in problems and "'vae_decoder.mlpackage/more.json' is not in the manifest" in problems
    )


def test_a_package_of_other_shapes_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    """The manifest and the package must agree before anything is computed."""
    entry = bundle.component("vae_decoder")
    wrong = {"forward": component_specs_of(bundle, "vae_encoder")}
    component = CoreMLComponent(
        {"forward": [bundle.file(entry.methods["forward"].file)]}, wrong, name="vae_decoder", native=False
    )
    with pytest.raises(BundleError, match=r"its inputs are \['latents'\], expected \['image'\]"):
        component.run("forward", sample_inputs(wrong["forward"], 0))


def component_specs_of(bundle: Bundle, name: str) -> Any:
    from dreamlite_mobile.bundle_checks import geometry

    return component_specs(geometry(bundle.manifest))[name].methods["forward"]


def test_a_method_may_not_read_files_that_its_component_does_not_list(bundle: Bundle, tmp_path: Path) -> None:
    folder = copied(bundle, tmp_path)
    data = json.loads((folder / "manifest.json").read_text())
    data["components"]["unet"]["methods"]["edit"]["then"] = ["vae_decoder.mlpackage/Manifest.json"]
    from small_bundle import change_manifest

    change_manifest(folder, data)
    with pytest.raises(
        BundleError, match=r"unet.edit reads 'vae_decoder.mlpackage/Manifest.json', which unet.files does"
    ):
        open_bundle(folder)


def test_how_packages_were_made_is_said_for_core_ml_only(bundle: Bundle, tmp_path: Path) -> None:
    folder = copied(bundle, tmp_path)
    with pytest.raises(ValueError, match="coreml is missing for backend coreml"):
        write_manifest(folder, type(bundle.manifest).model_validate({**bundle.manifest.model_dump(), "coreml": None}))


def test_on_a_mac_core_ml_itself_is_asked(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls, with coremltools' model replaced: package, function, compute units, inputs by name."""
    import coremltools

    asked: list[Any] = []

    class Model:
        def __init__(self, path: str, **options: Any) -> None:
            asked.append((path, options))

        def predict(self, inputs: dict[str, Any]) -> dict[str, Any]:
            asked.append(sorted(inputs))
            return {"velocity": np.ones((1, 4, 8, 8), np.float16)}

    monkeypatch.setattr(coremltools.models, "MLModel", Model)
    entry = bundle.component("unet")
    program = bundle.file(entry.methods["edit"].file)
    component = CoreMLComponent(
        {"edit": [program]}, entry.methods, name="unet", compute_units="cpu_and_neural_engine", native=True
    )
    found = component.run("edit", sample_inputs(entry.methods["edit"], 0))
    assert found["velocity"].dtype == np.float32
    units = coremltools.ComputeUnit.CPU_AND_NE
    assert asked[0] == (str(bundle.path / "unet.mlpackage"), {"compute_units": units, "function_name": "edit"})
    assert asked[1] == sorted(tensor.name for tensor in entry.methods["edit"].inputs)
    assert NativeProgram(
        read_program(bundle.file("vae_decoder.mlpackage/Data/com.apple.CoreML/model.mlmodel")), "main", "all"
    )
    assert asked[2][1] == {"compute_units": coremltools.ComputeUnit.ALL, "function_name": None}
