"""Reading saved packages and evaluating them. Oracles: coremltools' writer, reader and messages; numpy's fp16."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types
from coremltools.libmilstoragepython import _BlobStorageReader, _BlobStorageWriter
from coremltools.proto import MIL_pb2, Model_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamlite_mobile.errors import BundleError
from dreamlite_mobile.runtime.mil.evaluator import Evaluator
from dreamlite_mobile.runtime.mil.program import DTYPES, read_program
from dreamlite_mobile.runtime.mil.weights import WeightFile

pytestmark = pytest.mark.coreml
SPECIFICATION = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
KINDS = {
    "fp32": ("float", np.float32, None),
    "fp16": ("fp16", np.float16, None),
    "int8": ("int8", np.int8, (-128, 128)),
    "uint8": ("uint8", np.uint8, (0, 256)),
    "int16": ("int16", np.int16, (-999, 999)),
    "uint16": ("uint16", np.uint16, (0, 999)),
    "int32": ("int32", np.int32, (-999, 999)),
    "uint32": ("uint32", np.uint32, (0, 999)),
    "int4": ("int4", np.int8, (-8, 8)),
    "uint1": ("uint1", np.uint8, (0, 2)),
    "uint2": ("uint2", np.uint8, (0, 4)),
    "uint3": ("uint3", np.uint8, (0, 8)),
    "uint4": ("uint4", np.uint8, (0, 16)),
    "uint6": ("uint6", np.uint8, (0, 64)),
}
STEP = np.linspace(-2, 2, 24, dtype=np.float32).reshape(4, 6)
"""Large enough to lie in the weight file."""


def saved(folder: Path, body: Callable[[Any], Any], precision: Any = coremltools.precision.FLOAT16) -> Path:
    """A package of one function of x [1, 4]."""
    builder = mb.program(
        input_specs=[mb.TensorSpec(shape=(1, 4), dtype=types.fp32)], opset_version=coremltools.target.iOS18
    )
    model = coremltools.convert(
        builder(body),
        minimum_deployment_target=coremltools.target.iOS18,
        compute_precision=precision,
        skip_model_load=True,
    )
    model.save(str(folder / "a.mlpackage"))
    return folder / "a.mlpackage"


def product(x: Any) -> Any:
    """x [1, 4] times a matrix of the weight file, plus three."""
    return mb.add(x=mb.matmul(x=x, y=STEP), y=3.0, name="y")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("mil"), product)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 70), seed=st.integers(0, 99))
def test_blobs_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, kind: str, count: int, seed: int
) -> None:
    suffix, dtype, bounds = KINDS[kind]
    random, path = np.random.default_rng(seed), tmp_path_factory.mktemp("blob") / "weight.bin"
    values = (random.standard_normal(count) if bounds is None else random.integers(*bounds, count)).astype(dtype)
    writer = _BlobStorageWriter(str(path))
    writer.write_int8_data(np.zeros(3, np.int8))
    offset = getattr(writer, f"write_{suffix}_data")(values.view(np.uint16) if kind == "fp16" else values)
    del writer
    found = WeightFile(path).read(offset, kind, (1, count))
    assert found.dtype == dtype and np.array_equal(found, values[None])


def test_the_program_is_what_the_message_classes_say(package: Path) -> None:
    model = Model_pb2.Model.FromString((package / SPECIFICATION).read_bytes())
    expected = model.mlProgram.functions["main"]
    block = expected.block_specializations[expected.opset]
    found = read_program(package / SPECIFICATION).functions["main"]
    assert found.opset == expected.opset == "CoreML8"
    assert [item.name for item in found.inputs] == [item.name for item in expected.inputs]
    assert list(found.outputs) == list(block.outputs)
    assert [one.kind for one in found.operations] == [one.type for one in block.operations]
    for mine, its in zip(found.operations, block.operations, strict=True):
        assert {name: len(bound) for name, bound in mine.inputs.items()} == {
            name: len(argument.arguments) for name, argument in its.inputs.items()
        }
        for result, wanted in zip(mine.outputs, its.outputs, strict=True):
            tensor = wanted.type.tensorType
            shape = tuple(dimension.constant.size for dimension in tensor.dimensions)
            assert (result.name, result.type.shape) == (wanted.name, shape)
            assert result.type.dtype == DTYPES[tensor.dataType]


def test_numbers_of_types_are_those_of_the_format() -> None:
    names = {"fp16": "FLOAT16", "fp32": "FLOAT32", "fp64": "FLOAT64"}
    for number, name in DTYPES.items():
        assert MIL_pb2.DataType.Value(names.get(name, name.upper())) == number


def test_constants_are_those_of_coremltools_reader(package: Path) -> None:
    program = read_program(package / SPECIFICATION)
    (stored,) = (
        one.attributes["val"]
        for one in program.functions["main"].operations
        if one.kind == "const" and one.attributes["val"].blob is not None
    )
    assert stored.blob is not None
    raw = _BlobStorageReader(str(package / WEIGHTS)).read_fp16_data(stored.blob[1])
    assert np.array_equal(program.constant(stored), raw.view(np.float16).reshape(4, 6))
    assert np.array_equal(program.constant(stored), STEP.astype(np.float16))


def run(package: Path, x: np.ndarray, rounding: str = "fp16") -> np.ndarray:
    return Evaluator(read_program(package / SPECIFICATION), "main", rounding).run({"x": x})["y"]


def test_fp16_rounds_after_every_operator_and_fp32_never(package: Path) -> None:
    """Oracle: numpy, rounding where the program casts: the input, the product, the sum."""
    x = np.array([[0.1, -1.3, 2.7, 1000.1]], np.float32)
    weight = STEP.astype(np.float16).astype(np.float32)
    short = (x.astype(np.float16).astype(np.float32) @ weight).astype(np.float16) + np.float16(3)
    assert np.array_equal(run(package, x), short.astype(np.float32))
    wide = run(package, x, "fp32")
    assert np.allclose(wide, x @ weight + 3, rtol=1e-6) and not np.allclose(wide, short, rtol=1e-6)


def test_fp16_overflows_as_a_phone_would(package: Path) -> None:
    x = np.array([[60000, 0, 0, -60000]], np.float32)
    assert np.isinf(run(package, x)).any() and np.isfinite(run(package, x, "fp32")).all()


def test_a_value_is_kept_as_long_as_something_reads_it(tmp_path: Path) -> None:
    def twice(x: Any) -> Any:
        first = mb.square(x=x)
        second = mb.sub(x=mb.square(x=first), y=first)
        return mb.add(x=mb.mul(x=second, y=first), y=x, name="y")

    x = np.array([[0.5, 1.0, 1.5, 2.0]], np.float32)
    found = run(saved(tmp_path, twice, coremltools.precision.FLOAT32), x)
    assert np.allclose(found, (x**4 - x**2) * x**2 + x)


def test_an_unknown_operator_is_named_with_its_layer(tmp_path: Path) -> None:
    package = saved(tmp_path, lambda x: mb.cumsum(x=x, axis=1, name="y"))
    with pytest.raises(BundleError, match=r"main: cumsum 'y\w*': unknown operator 'cumsum'; known: abs, add"):
        run(package, np.ones((1, 4), np.float32))


def test_an_unknown_function_is_refused(package: Path) -> None:
    with pytest.raises(BundleError, match="unknown function 'edit'; known: main"):
        Evaluator(read_program(package / SPECIFICATION), "edit")


def change_model(package: Path, change: Callable[[Any], None]) -> None:
    """Rewrite the specification through the message classes."""
    path = package / SPECIFICATION
    model = Model_pb2.Model.FromString(path.read_bytes())
    change(model)
    path.write_bytes(model.SerializeToString())


def operations(model: Any) -> Any:
    function = model.mlProgram.functions["main"]
    return function.block_specializations[function.opset].operations


def stored_value(model: Any) -> Any:
    constants = (one.attributes["val"] for one in operations(model) if one.type == "const")
    (value,) = (constant for constant in constants if constant.HasField("blobFileValue"))
    return value


def other_file(model: Any) -> None:
    stored_value(model).blobFileValue.fileName = "@model_path/../../../secret.bin"


def absolute_file(model: Any) -> None:
    stored_value(model).blobFileValue.fileName = "/etc/passwd"


def other_place(model: Any) -> None:
    stored_value(model).blobFileValue.offset += 64


def other_kind(model: Any) -> None:
    stored_value(model).type.tensorType.dataType = MIL_pb2.FLOAT32


def other_count(model: Any) -> None:
    stored_value(model).type.tensorType.dimensions[0].constant.size = 5


def no_program(model: Any) -> None:
    model.ClearField("mlProgram")


def other_shape(model: Any) -> None:
    operations(model)[-1].outputs[0].type.tensorType.dimensions[1].constant.size = 7


def refuses(package: Path, folder: Path, change: Callable[[Any], None], message: str) -> None:
    """A copy of the package with its model changed is refused with this message."""
    spoilt = Path(shutil.copytree(package, folder / "a.mlpackage"))
    change_model(spoilt, change)
    with pytest.raises(BundleError, match=message):
        run(spoilt, np.ones((1, 4), np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_file, "weight file '@model_path/../../../secret.bin' that is not its own"),
        (absolute_file, "weight file '/etc/passwd' that is not its own"),
        (other_place, "blob at 128: there is none"),
        (other_kind, "holds numbers of kind 1, the program expects fp32"),
        (other_count, r"holds 384 bits, fp16 \[5, 6\] needs 480"),
        (no_program, "it holds no ML program"),
        (other_shape, r"gives \[1, 6\], declared is \[1, 7\]"),
    ],
)
def test_a_changed_package_is_refused(
    package: Path, tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    refuses(package, tmp_path, change, message)


def no_value(model: Any) -> None:
    next(one for one in operations(model) if one.type == "const").attributes.pop("val")


def no_result(model: Any) -> None:
    operations(model)[-1].ClearField("outputs")


def nothing_bound(model: Any) -> None:
    operations(model)[-1].inputs["x"].ClearField("arguments")


def unknown_value(model: Any) -> None:
    operations(model)[-1].inputs["x"].arguments[0].name = "elsewhere"


def later_value(model: Any) -> None:
    reader = next(one for one in operations(model) if one.type == "matmul")
    reader.inputs["x"].arguments[0].name = operations(model)[-1].outputs[0].name


def made_twice(model: Any) -> None:
    operations(model)[-1].outputs[0].name = operations(model)[0].outputs[0].name


def other_output(model: Any) -> None:
    function = model.mlProgram.functions["main"]
    function.block_specializations[function.opset].outputs[0] = "elsewhere"


def text_output(model: Any) -> None:
    function = model.mlProgram.functions["main"]
    text = next(one for one in operations(model) if "dtype" in one.outputs[0].name)
    function.block_specializations[function.opset].outputs[0] = text.outputs[0].name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_value, "const '.*': holds no value"),
        (no_result, "an operator 'cast' has no result"),
        (nothing_bound, "cast 'y': has 0 values for 'x', expected one"),
        (unknown_value, "cast 'y': reads 'elsewhere', which nothing before it makes"),
        (later_value, "matmul '.*': reads 'y', which nothing before it makes"),
        (made_twice, "makes '.*', which is made already"),
        (other_output, r"nothing makes its outputs \['elsewhere'\]"),
        (text_output, "is no tensor. The package is damaged"),
    ],
)
def test_a_damaged_function_is_refused_by_name(
    package: Path, tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    refuses(package, tmp_path, change, message)


def test_an_input_that_is_missing_or_of_another_shape_is_refused(package: Path) -> None:
    evaluator = Evaluator(read_program(package / SPECIFICATION), "main")
    with pytest.raises(BundleError, match=r"input 'x' is missing, expected \[1, 4\]"):
        evaluator.run({})
    with pytest.raises(BundleError, match=r"input 'x' has shape \[2, 4\], expected \[1, 4\]"):
        evaluator.run({"x": np.ones((2, 4), np.float32)})


@pytest.mark.parametrize("name", [SPECIFICATION, WEIGHTS])
def test_changed_bytes_give_numbers_or_a_bundle_error(package: Path, tmp_path: Path, name: str) -> None:
    """Seeded: one byte at a time, then several, anywhere in the file."""
    spoilt, random = Path(shutil.copytree(package, tmp_path / "a.mlpackage")), np.random.default_rng(0)
    whole = np.frombuffer((package / name).read_bytes(), np.uint8)
    refused = 0
    for trial in range(400):
        data, count = whole.copy(), 1 if trial < 300 else 5
        data[random.integers(0, len(data), count)] ^= random.integers(1, 256, count, np.uint8)
        (spoilt / name).write_bytes(data.tobytes())
        try:
            Evaluator(read_program(spoilt / SPECIFICATION), "main").run({"x": np.ones((1, 4), np.float32)})
        except BundleError:
            refused += 1
    assert refused > 0


def test_a_cut_off_file_is_refused(package: Path, tmp_path: Path) -> None:
    """Wherever it ends, never with another kind of error; the weights likewise."""
    spoilt = Path(shutil.copytree(package, tmp_path / "a.mlpackage"))
    for name in (SPECIFICATION, WEIGHTS):
        whole = (package / name).read_bytes()
        for end in range(0, len(whole), 13):
            (spoilt / name).write_bytes(whole[:end])
            with pytest.raises(BundleError):
                run(spoilt, np.ones((1, 4), np.float32))
        (spoilt / name).write_bytes(whole)
    run(spoilt, np.ones((1, 4), np.float32))
