"""Where components are cut into HTP shards, what shards take and give, and what is refused. No compiler is needed."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from phased import BANDED, BANDED_WIDTHS, SIZE, UNLIMITED, phases, subject, two_bytes
from torch import nn

from dreamlite_mobile.bundle_checks import _shards
from dreamlite_mobile.bundle_programs import HandedSpec, MethodEntry, ShardEntry, TensorSpec
from dreamlite_mobile.components import ComponentSpec, sample_inputs
from dreamlite_mobile.config import TINY
from dreamlite_mobile.errors import ConfigError, ExportError, OutputError
from dreamlite_mobile.networks import build, fold
from dreamlite_mobile.networks.form import COREML, HTP, HTP_INTEGERS, HTP_PHASES, Form
from export import shards as shards_module
from export.alike import computed
from export.backends import Cutting, exporter
from export.calibration import Inputs
from export.handed import ShardCalls, read_value, record_handed, write_value
from export.htp import QnnExporter
from export.htp_shards import IN_SHARD, ShardRecord, check_codes
from export.put_back import put_back
from export.qnn_plan import layers_of
from export.shards import (
    BLOCKS,
    Shard,
    cut_component,
    even_places,
    fewest,
    form_to_cut,
    shard_digest,
    shard_memory,
    shard_room,
    shard_volumes,
)

real_trace = cache(shards_module.trace)


@pytest.fixture(autouse=True)
def traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "trace", real_trace)


def shards_of(name: str, wanted: int | None, limit: float = UNLIMITED, codes: bool = False) -> list[Shard]:
    return cut_component(*subject(name), wanted, limit, two_bytes, codes=codes)


def sampled(spec: ComponentSpec, *seeds: int) -> dict[str, list[Inputs]]:
    """A call of each method for each seed."""
    return {
        method: [tuple(map(torch.from_numpy, sample_inputs(described, seed).values())) for seed in seeds]
        for method, described in spec.methods.items()
    }


def run_chain(shards: list[Shard], method: str, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    for shard in shards:
        part = shard.parts[method]
        given = [values[spec.name] for spec in part.method.inputs]
        assert [str(x.dtype).removeprefix("torch.") for x in given] == [spec.dtype for spec in part.method.inputs]
        values |= dict(zip((spec.name for spec in part.method.outputs), part.module(*given), strict=True))
    return values


@pytest.mark.parametrize(("name", "wanted"), [("unet", 6), ("text_encoder", 2)])
def test_a_chain_of_shards_is_the_component(name: str, wanted: int) -> None:
    """Oracle: the uncut module. What differs is the rounding of what is handed on, to fp16."""
    spec, modules = subject(name)
    shards = shards_of(name, wanted)
    assert len(shards) == wanted
    for method, described in spec.methods.items():
        inputs = {key: torch.from_numpy(array) for key, array in sample_inputs(described, 3).items()}
        with torch.no_grad():
            whole = modules[method](*(inputs[tensor.name] for tensor in described.inputs))
            found = run_chain(shards, method, dict(inputs))[described.outputs[0].name]
        assert found.dtype == torch.float32
        assert 0 < (found - whole).norm() / whole.norm() < 1e-3


@pytest.mark.parametrize(
    ("component", "form", "megabytes", "wanted", "found"),
    [
        ("unet", HTP, 780, None, HTP_PHASES),
        ("unet", HTP, 780, 6, HTP),
        ("unet", HTP, 90, None, HTP),
        ("unet", HTP_INTEGERS, 780, None, HTP_INTEGERS),
        ("unet", COREML, 780, None, COREML),
        ("text_encoder", HTP, 2800, None, HTP),
    ],
)
def test_only_what_auto_cuts_into_phases_is_written_in_them(
    component: str, form: Form, megabytes: float, wanted: int | None, found: Form
) -> None:
    assert form_to_cut(component, form, megabytes * 1e6, wanted) == found


def test_phases_that_memory_has_no_room_for_are_not_taken() -> None:
    spec, modules = subject("unet", BANDED)
    room = max(shard.volume for shard in phases()) - 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards_module, "WHOLE_BYTES", 0)
        shards = cut_component(spec, modules, None, UNLIMITED, two_bytes, room)
    assert len(shards) < len(phases())


def test_phases_in_turn_are_the_component() -> None:
    spec, modules = subject("unet", BANDED)
    method = spec.methods["generate"]
    inputs = {key: torch.from_numpy(array) for key, array in sample_inputs(method, 3).items()}
    with torch.no_grad():
        whole = modules["generate"](*(inputs[tensor.name] for tensor in method.inputs))
        found = run_chain(phases(), "generate", dict(inputs))["velocity"]
    assert 0 < (found - whole).norm() / whole.norm() < 2e-3


def test_phases_hand_on_pictures_and_rows_once_and_no_wider_than_their_level() -> None:
    """Not the bands and tiles they are taken apart into, nor what a resnet's pictures are together."""
    most = {SIZE // 8: 32, SIZE // 16: 128, SIZE // 32: 128}
    rows = {SIZE // 8 * SIZE // 4 >> 2 * level for level in range(3)}
    handed = {
        output.name: output.shape
        for shard in phases()
        for output in shard.parts["generate"].method.outputs
        if output.name != "velocity"
    }
    for name, shape in handed.items():
        if len(shape) == 4 and shape[1] in most and shape[2] == 2 * shape[1]:
            assert shape[3] <= most[shape[1]], f"{name} {shape}"
        elif len(shape) == 3 and shape[1] > 1 and shape[2] in BANDED_WIDTHS:
            assert shape[1] in rows, f"{name} {shape}"
    resnets = [shard for shard in phases() if re.fullmatch(r"up_blocks.2.resnets.0(.norm2.moments.0)?", shard.begins)]
    assert [len(shard.parts["generate"].method.inputs) for shard in resnets] == [3, 2], "pictures stay apart"
    assert all(spec.shape[2] in (1, 4, 8) for shard in resnets for spec in shard.parts["generate"].method.outputs)


def test_the_layers_of_a_transformer_in_tiles_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The projection in front goes with the scaling, not with the first of them: all are compiled from one graph."""
    monkeypatch.setattr(shards_module, "WHOLE_BYTES", 0)
    spec, _ = subject("unet", BANDED)
    config = replace(TINY, unet=replace(TINY.unet, transformer_layers=(1, 2, 1)))
    with torch.device("meta"):
        network = fold(build("unet", config, replace(BANDED, bands=((32, 64, 2), (32, 96, 1), (64, 64, 2)))))
        cut = cut_component(spec, {"generate": network}, None, UNLIMITED, two_bytes)
    layers = [one for one in cut if re.fullmatch(r"down_blocks.1.attentions.0.transformer_blocks.\d", one.begins)]
    assert len(layers) == 2 and len({computed(layer) for layer in layers}) == 1


def test_each_layer_of_level_2_is_three_phases() -> None:
    begins = [shard.begins for shard in phases()]
    assert begins[0] == "" and begins[1] == "conv_in" and begins[-1] == "conv_norm_out"
    for block in ("down_blocks.2", "mid_block", "up_blocks.0"):
        layer = f"{block}.attentions.0.transformer_blocks.0"
        first = begins.index(layer)
        assert begins[first + 1 : first + 3] == [f"{layer}.norm2", f"{layer}.norm3"]
        given = [shard.parts["generate"].method for shard in phases()][first : first + 3]
        assert [len(method.outputs) for method in given] == [1, 1, 1]
        assert [len(method.inputs) for method in given] == [1, 4, 1], "rows, and what the prompt gives"


def test_integers_are_cut_at_blocks() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards_module, "WHOLE_BYTES", 0)
        integers = cut_component(*subject("unet", HTP_INTEGERS), None, UNLIMITED, two_bytes, codes=True)
    assert tuple(shard.begins for shard in integers[1:]) == BLOCKS["unet"]


@pytest.mark.parametrize(("name", "wanted"), [("unet", 6), ("text_encoder", 2)])
def test_what_calibration_hands_on_leads_to_what_the_component_gives(tmp_path: Path, name: str, wanted: int) -> None:
    """Oracle: the uncut module, in fp32: values that become codes are not rounded before ranges are taken of them."""
    spec, modules = subject(name)
    shards = shards_of(name, wanted, codes=True)
    calls = sampled(spec, 0, 1)
    record_handed(shards, spec, calls, tmp_path / "handed")
    for method, described in spec.methods.items():
        last = shards[-1].parts[method]
        given = ShardCalls(tmp_path / "handed", method, described, calls[method], last.method)
        assert len(given) == 2
        for inputs, handed in zip(calls[method], given, strict=True):
            with torch.no_grad():
                whole, (found,) = modules[method](*inputs), last.module(*handed)
            assert (found - whole).norm() / whole.norm() < 1e-5


@pytest.mark.parametrize(("name", "wanted"), [("unet", 3), ("text_encoder", 2)])
def test_layers_put_back_compute_the_same_under_their_own_names(tmp_path: Path, name: str, wanted: int) -> None:
    """Oracle: the graphs without them. Methods share them, and every layer of the component is in one shard."""
    spec, modules = subject(name)
    shards = shards_of(name, wanted, codes=True)
    calls = sampled(spec, 3)
    record_handed(shards, spec, calls, tmp_path / "before")
    put_back(shards, layers_of(modules).keys())
    record_handed(shards, spec, calls, tmp_path / "after")
    for path in (tmp_path / "before").iterdir():
        assert torch.equal(read_value(path), read_value(tmp_path / "after" / path.name)), path.name
    found: dict[str, nn.Module] = {}
    for shard in shards:
        for part in shard.parts.values():
            for layer, module in layers_of({name: part.module}).items():
                assert found.setdefault(layer.removeprefix(IN_SHARD), module) is module
    wanted_layers = layers_of(modules)
    assert found.keys() == wanted_layers.keys()
    assert all(found[layer].weight is module.weight for layer, module in wanted_layers.items())


def test_eight_bit_activations_are_not_cut(tmp_path: Path) -> None:
    made = QnnExporter(None, True, Cutting(2))
    with pytest.raises(ExportError, match=r"w8a8mix in 2 shards is not supported; take one \(--shards 1\)"):
        made.write_shards(*subject("unet"), shards_of("unet", 2), "w8a8mix", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"hands from shard to shard cannot be written: .*TMPDIR"):
        write_value(tmp_path / "gone" / "value.safetensors", torch.zeros(1))


@pytest.mark.parametrize(("second", "words"), [((0.5, 7), None), ((0.5, 9), "from 9"), ((1.0, 7), "steps of 1 ")])
def test_shards_that_take_a_code_for_something_else_are_refused(second: tuple[float, int], words: str | None) -> None:
    records = [
        ShardRecord(files={}, delegates={}, traffic={}, plan={}, codes={"edit": {"part1_0": code}})
        for code in ((0.5, 7), second)
    ]
    if words is None:
        check_codes("unet", records)
        return
    with pytest.raises(ExportError, match=rf"unet.edit: shard 2 takes 'part1_0' in .*{words}.*--shards"):
        check_codes("unet", records)


def test_the_plan_cuts_the_unet_at_its_blocks() -> None:
    shards = shards_of("unet", 6)
    assert tuple(shard.begins for shard in shards[1:]) == BLOCKS["unet"]
    total = sum(two_bytes("", weight) for weight in subject("unet")[1]["generate"].parameters())
    assert sum(shard.volume for shard in shards) == pytest.approx(total)


def test_methods_share_the_weights_of_every_shard() -> None:
    for shard in shards_of("text_encoder", 2):
        held = [{weight.data_ptr() for weight in part.module.parameters()} for part in shard.parts.values()]
        assert len(held) == 2 and held[0] == held[1] and len(held[0]) > 5


def test_small_components_stay_whole_unless_asked() -> None:
    (only,) = shards_of("unet", None)
    assert only.parts["generate"].module is subject("unet")[1]["generate"]
    assert len(shards_of("vae_decoder", 4)) == 1


def test_too_many_shards_are_refused_with_the_places() -> None:
    with pytest.raises(
        ConfigError, match=r"--shards 40: text_encoder can be cut into 1 to \d shards .*tower\.layers\.1"
    ):
        shards_of("text_encoder", 40)


@pytest.mark.parametrize("wanted", [1, 2])
def test_a_shard_over_the_limit_says_which_and_how_many_would_fit(wanted: int) -> None:
    limit = max(shard.volume for shard in shards_of("unet", 6))
    with pytest.raises(
        ExportError, match=r"unet: shard \d of \d holds .* MB of weights, one context of the chip"
    ) as said:
        shards_of("unet", wanted, limit)
    count = int(str(said.value).split("--shards ")[1].rstrip(")"))
    assert max(shard.volume for shard in shards_of("unet", count, limit)) <= limit


def test_a_limit_no_cut_reaches_is_said() -> None:
    with pytest.raises(ExportError, match="no cut makes it fit"):
        shards_of("text_encoder", 2, 10.0)


def test_even_places_make_the_largest_shard_smallest() -> None:
    known = {"a": 1.0, "b": 5.0, "c": 6.0, "d": 9.0}
    assert even_places(known, 10.0, 2) == ("b",)
    assert [max(shard_volumes(known, even_places(known, 10.0, count), 10.0)) for count in (1, 2, 3, 4)] == [10, 5, 5, 4]
    assert [fewest(known, 10.0, limit) for limit in (10.0, 5.5, 4.0, 0.5)] == [1, 2, 4, 6]


def test_a_digest_changes_with_weights_operators_and_shapes() -> None:
    first, second = shards_of("text_encoder", 2)
    digests = [shard_digest(first), shard_digest(second), shard_digest(shards_of("text_encoder", 3)[0])]
    assert len(set(digests)) == 3 and shard_digest(shards_of("text_encoder", 2)[0]) == digests[0]
    weight = next(second.parts["edit"].module.parameters())
    before = weight.data.clone()
    try:
        weight.data[0] += 1e-3
        assert shard_digest(second) != digests[1] and shard_digest(first) == digests[0]
    finally:
        weight.data.copy_(before)


def test_other_backends_are_not_cut() -> None:
    with pytest.raises(ConfigError, match="--shards 3: onnx files are not cut into shards"):
        exporter("onnx", cutting=Cutting(shards=3))
    exporter("onnx", cutting=Cutting(jobs=2, max_memory=10**9, cache=Path("somewhere")))


@pytest.mark.parametrize("integers", [False, True])
def test_a_ceiling_on_memory_cuts_finer_than_usual(integers: bool) -> None:
    """As many shards as it takes for the largest to be compiled within it; a number that was asked for stays."""
    weights = sum(two_bytes("", weight) for weight in subject("unet")[1]["generate"].parameters())
    room = shard_room(shard_memory(0) + shard_memory(weights / 3, integers), integers)
    assert room == pytest.approx(weights / 3)
    found = cut_component(*subject("unet"), None, UNLIMITED, two_bytes, room)
    assert len(found) > 1 and max(shard.volume for shard in found) <= room
    assert len(cut_component(*subject("unet"), 2, UNLIMITED, two_bytes, room)) == 2


def test_a_manifest_refuses_a_chain_that_does_not_hold() -> None:
    given, made = TensorSpec(name="x", shape=(1, 2)), TensorSpec(name="y", shape=(1, 3))
    wide = HandedSpec(name="x", shape=(1, 2), dtype="float32")
    half = HandedSpec(name="part1_0", shape=(1, 4), dtype="float16")
    out = HandedSpec(name="y", shape=(1, 3), dtype="float32")
    sound = MethodEntry(
        file="a.1.pte",
        then=("a.2.pte",),
        shards=(ShardEntry(inputs=(wide,), outputs=(half,)), ShardEntry(inputs=(half, wide), outputs=(out,))),
        inputs=(given,),
        outputs=(made,),
    )
    assert not list(_shards("a.forward", sound))
    other = half.model_copy(update={"dtype": "float32"})
    first, second = sound.shards
    for shards, said in (
        ((first,), "has 2 programs and describes 1 shards"),
        ((first.model_copy(update={"outputs": (other,)}), second), "shard 2 takes 'part1_0'"),
        ((second, first), "shard 1 takes 'part1_0'"),
        ((first, second.model_copy(update={"outputs": (half,)})), "no shard gives its output 'y'"),
    ):
        assert any(said in text for text in _shards("a.forward", sound.model_copy(update={"shards": shards})))


def test_a_chip_has_its_own_limit() -> None:
    from export.targets import target

    assert replace(target("SM8650"), context_limit_kb=7).as_json()["context_limit_kb"] == 7
