"""Bundles of several picture sizes over one set of weights. Oracle: bundles of one size, which parity judges."""

import json
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from bundles import exported
from checkpoint_files import tiny_checkpoint
from PIL import Image
from qnn_runs import compiled, dreamlite
from run_folder import made_once
from sized_bundle import FIRST, SECOND, second_size, two_sizes

from dreamlite_mobile.bundle import Bundle, open_bundle
from dreamlite_mobile.bundle_checks import geometry
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.cli.judge import Judgement, JudgeRequest, judge_pictures, side_of
from dreamlite_mobile.components import SIZED, Size
from dreamlite_mobile.device.correctness import default_source
from dreamlite_mobile.errors import BundleError, ConfigError
from dreamlite_mobile.images import nearest_shape
from dreamlite_mobile.networks import build
from dreamlite_mobile.networks.form import REFERENCE
from dreamlite_mobile.noise import initial_latents
from dreamlite_mobile.parity.reference import reference_components
from dreamlite_mobile.parity.run import Case, Side
from dreamlite_mobile.parity.thresholds import check
from dreamlite_mobile.pipeline import finish
from dreamlite_mobile.runtime.session import Session
from export import parts
from export.backends import Cutting
from export.driver import ExportRequest, plan_export, run_export
from export.estimate import GRAPH_BYTES
from export.workers import Job

STEPS = 1
OF_DECODER = ("--components", "vae_decoder", "--modes", "generate")
DECODER = {"components": ("vae_decoder",), "reuse": (), "modes": ("generate",)}
"""One small component draws nothing, but is written like the others."""


def request(backend: str, *sizes: Size, **changes: object) -> ExportRequest:
    (width, height), *further = sizes
    asked = {"further": tuple(further), "reuse": (open_bundle(exported("fp32")),)} | changes
    return ExportRequest(open_checkpoint(tiny_checkpoint()), "tiny", backend, width, height, **asked)


def made(*sizes: Size) -> Bundle:
    """For XNNPACK, of the first size, the second or both."""
    folders = {(FIRST,): lambda: exported("fp32"), (SECOND,): second_size, (FIRST, SECOND): two_sizes}
    return open_bundle(folders[sizes]())


@cache
def onnx_decoder(*sizes: Size) -> Bundle:
    plan = plan_export(request("onnx", *sizes, **DECODER))
    return open_bundle(made_once(f"onnx-decoder-{len(sizes)}", lambda out: run_export(plan, out)))


def drawn(bundle: Bundle, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Latents and picture of one seed."""
    with Session(bundle, threads=1) as session:
        pipeline = session.pipeline()
        noise = initial_latents(3, pipeline.latents_shape)
        if mode == "generate":
            run = pipeline.generate("a red circle", noise, STEPS)
        else:
            run = pipeline.edit(default_source(80, 50), "make it blue", noise, STEPS)
        result = finish(run)
    return result.latents, np.asarray(result.picture)


@pytest.mark.parametrize("mode", ["generate", "edit"])
@pytest.mark.parametrize("size", [FIRST, SECOND], ids=str)
def test_every_size_draws_what_a_bundle_of_that_size_alone_draws(size: Size, mode: str) -> None:
    found, expected = drawn(made(FIRST, SECOND).at(size), mode), drawn(made(size), mode)
    assert found[1].shape == (size[1], size[0], 3)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours, theirs)


def test_methods_of_a_further_size_carry_it_and_towers_have_none() -> None:
    methods = {name: list(entry.methods) for name, entry in made(FIRST, SECOND).manifest.components.items()}
    assert methods["unet"] == ["generate", "edit", "generate_64x96", "edit_64x96"]
    assert methods["vae_decoder"] == methods["vae_encoder"] == ["forward", "forward_64x96"]
    assert methods["text_encoder"] == ["generate", "edit"]
    assert methods["vision_encoder"] == ["forward"]


def test_xnnpack_s_sizes_share_their_weights() -> None:
    """A second size adds its graphs alone: less than a tenth of the file that a bundle of its own has."""
    two, one = made(FIRST, SECOND), made(FIRST)
    for name in SIZED:
        both, alone = (bundle.manifest.files[f"{name}.pte"].bytes for bundle in (two, one))
        assert both < 1.1 * alone, name
    assert two.manifest.files["text_encoder.pte"] == one.manifest.files["text_encoder.pte"]


def test_onnx_s_sizes_share_one_data_file() -> None:
    two, one = onnx_decoder(FIRST, SECOND), onnx_decoder(FIRST)
    assert two.component("vae_decoder").files == (
        "vae_decoder.forward.onnx",
        "vae_decoder.forward_64x96.onnx",
        "vae_decoder.onnx.data",
    )
    assert two.manifest.files["vae_decoder.onnx.data"] == one.manifest.files["vae_decoder.onnx.data"]


@pytest.mark.parametrize("backend", ["xnnpack", "onnx", "coreml"])
def test_a_further_size_is_planned_with_its_graphs(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The U-Net has two methods for each, the decoder one, a tower none."""
    planned: list[dict[str, int]] = []

    def note(jobs: list[Job], *_: object) -> list[object]:
        planned.append({job.name: job.memory for job in jobs})
        return []

    monkeypatch.setattr(parts, "run_told", note)
    names, checkpoint = ("unet", "vae_decoder", "vision_encoder"), open_checkpoint(tiny_checkpoint())
    for sizes in ((FIRST,), (FIRST, SECOND), (FIRST, SECOND, (96, 64))):
        (width, height), *further = sizes
        asked = {"further": tuple(further), "components": names, "cutting": Cutting(jobs=1)}
        plan = plan_export(ExportRequest(checkpoint, "tiny", backend, width, height, **asked))
        list(parts.lowered(plan, names, Path(), lambda _: None))
    for name, methods in zip(names, (2, 1, 0), strict=True):
        one, two, three = (found[name] for found in planned)
        tensors = len(build(name, checkpoint.config, REFERENCE).state_dict())
        assert two - one == three - two == methods * tensors * GRAPH_BYTES, name


@pytest.mark.coreml
def test_core_ml_s_sizes_are_functions_over_one_weight_file(tmp_path: Path) -> None:
    two, one = (
        run_export(plan_export(request("coreml", *sizes, **DECODER)), tmp_path / f"{len(sizes)}").bundle
        for sizes in ((FIRST, SECOND), (FIRST,))
    )
    weights = "vae_decoder.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    assert two.manifest.files[weights].bytes < 1.05 * one.manifest.files[weights].bytes
    for size, method in ((FIRST, "forward"), (SECOND, "forward_64x96")):
        latents = initial_latents(1, (1, 4, size[1] // 8, size[0] // 8))
        with Session(two) as session:
            found = session.component("vae_decoder").run(method, {"latents": latents})["image"]
        assert found.shape == (1, 3, size[1], size[0])
        if size == FIRST:
            with Session(one) as session:
                alone = session.component("vae_decoder").run(method, {"latents": latents})["image"]
            assert np.array_equal(found, alone)


@pytest.mark.qnn
def test_the_htp_s_sizes_share_their_weights() -> None:
    """As a phone gets them: the file of both has not twice the fp16 weights (the emulator's have none in common)."""
    both = open_bundle(compiled("qnn-decoder-both", *OF_DECODER, "--size", "64x96"))
    assert list(both.component("vae_decoder").methods) == ["forward", "forward_64x96"]
    network = build("vae_decoder", open_checkpoint(tiny_checkpoint()).config, REFERENCE)
    weights = sum(2 * one.numel() for one in network.parameters())
    assert weights < both.manifest.files["vae_decoder.pte"].bytes < 2 * weights


@pytest.mark.qnn
@pytest.mark.slow
def test_the_htp_draws_every_size_in_integers_too() -> None:
    """The ranges of each size are seen at that size; every one is held to its floor on the emulator."""
    made = compiled(
        "qnn-decoder-sizes",
        *(*OF_DECODER, "--size", "64x96", "--emulator", "--precision", "w8a16", "--calibration-pictures", "4"),
        precisions=("w8a16",),
    )
    referee = onnx_decoder(FIRST, SECOND).path
    done = dreamlite("parity", made, "--checkpoint", tiny_checkpoint(), "--referee", referee, "--json")
    assert done.code == 0, done.err
    rows = [row for row in done.data["bundles"][0]["parity"] if "qnn" in row["pair"]]
    assert {(row["method"], row["precision"]) for row in rows} == {("forward", "w8a16"), ("forward_64x96", "w8a16")}


def test_sizes_that_cannot_be_one_bundle_are_refused_before_any_work() -> None:
    with pytest.raises(ConfigError, match="--size 64x64 is named twice"):
        plan_export(request("xnnpack", FIRST, SECOND, FIRST))
    with pytest.raises(ConfigError, match="size 65x64: width and height must be multiples of"):
        plan_export(request("xnnpack", FIRST, (65, 64)))
    with pytest.raises(ConfigError, match="17 sizes; one bundle holds at most 16"):
        plan_export(request("xnnpack", *((32 * side, 32) for side in range(1, 18))))


def test_a_component_of_other_sizes_is_neither_reused_nor_found_in_a_cache() -> None:
    from export.parts import key_of, reusable

    one, two, swapped = (
        plan_export(request("xnnpack", *sizes, reuse=(made(FIRST, SECOND),)))
        for sizes in ((FIRST,), (FIRST, SECOND), (SECOND, FIRST))
    )
    assert reusable(two, "unet") is not None
    assert reusable(one, "unet") is reusable(swapped, "unet") is None
    assert len({key_of(plan, "unet") for plan in (one, two, swapped)}) == 3
    assert reusable(one, "text_encoder") is not None
    assert len({key_of(plan, "text_encoder") for plan in (one, two, swapped)}) == 1


def test_generate_draws_the_size_that_it_is_asked_for(run, tmp_path: Path) -> None:
    folder, out = made(FIRST, SECOND).path, tmp_path / "out.png"
    done = run("generate", folder, "a red circle", "--out", out, "--steps", 1, "--size", "64x96")
    assert done.code == 0, done.err
    with Image.open(out) as picture:
        assert picture.size == SECOND
        assert picture.text["size"] == "64x96"
    first = run("generate", folder, "a red circle", "--out", out, "--steps", 1)
    assert "64x64, its first size, is drawn; it also has 64x96" in " ".join(first.err.split())
    with Image.open(out) as picture:
        assert picture.size == FIRST
    other = run("generate", folder, "a red circle", "--out", out, "--size", "96x64")
    assert other.code == 1
    assert "made for 64x64, 64x96, not for 96x64" in " ".join(other.err.split())


def test_an_edit_takes_the_size_shaped_like_its_picture(run, tmp_path: Path) -> None:
    source, out = tmp_path / "source.png", tmp_path / "out.png"
    default_source(50, 90).save(source)
    sizes = []
    for options in ((), ("--size", "64")):
        done = run("edit", made(FIRST, SECOND).path, source, "blue", "--out", out, "--steps", 1, *options)
        assert done.code == 0, done.err
        with Image.open(out) as picture:
            sizes.append(picture.size)
    assert sizes == [SECOND, FIRST]


def test_the_nearest_shape_is_by_ratio_and_the_earlier_of_two() -> None:
    sizes = ((512, 512), (512, 768), (768, 512))
    assert nearest_shape(sizes, 4000, 3000) == (768, 512)
    assert nearest_shape(sizes, 1000, 1100) == (512, 512)
    assert nearest_shape(sizes, 10, 1000) == (512, 768)
    assert nearest_shape(sizes[1:], 7, 7) == (512, 768)
    assert nearest_shape(sizes[:0:-1], 7, 7) == (768, 512)


def test_parity_judges_every_size(run) -> None:
    """ONNX needs no referee; the decoder alone draws no whole pictures."""
    done = run("parity", onnx_decoder(FIRST, SECOND).path, "--checkpoint", tiny_checkpoint(), "--json")
    assert done.code == 0, done.err
    (report,) = json.loads(done.out)["bundles"]
    assert report["size"] == "64x64, 64x96"
    assert {row["method"] for row in report["parity"]} == {"forward", "forward_64x96"}


def test_whole_pictures_of_every_size_are_compared_with_torch() -> None:
    bundle, checkpoint = made(FIRST, SECOND), open_checkpoint(tiny_checkpoint())
    asked = JudgeRequest(bundle.path)
    judgement, modes = Judgement(bundle, asked, "two"), list(bundle.manifest.modes)
    with ExitStack() as stack:
        torch_side = Side("torch", reference_components(checkpoint, geometry(bundle.manifest), modes))
        sides = [torch_side, side_of(bundle, checkpoint, stack, asked, list(bundle.manifest.components))]
        cases: list[Case] = []
        for size in bundle.sizes:
            judge_pictures(judgement, bundle.at(size), checkpoint, sides, modes, cases)
    check(judgement.rows)
    assert {row.method for row in judgement.rows} == {"generate", "edit", "generate_64x96", "edit_64x96"}
    assert {case.method for case in cases if case.component == "vae_encoder"} == {"forward", "forward_64x96"}
    assert judgement.sources["edit_64x96"].size == SECOND


def test_estimate_says_which_size_it_is_for(run) -> None:
    folder, found = made(FIRST, SECOND).path, {}
    for size in ("64x64", "64x96"):
        done = run("estimate", folder, "--precision", "fp16", "--mode", "generate", "--size", size, "--json")
        assert done.code == 0, done.err
        report = json.loads(done.out)
        assert report["size"] == size
        found[size] = {stage["component"]: stage["macs"] for stage in report["estimates"][0]["stages"]}
    assert found["64x96"]["text_encoder"] == found["64x64"]["text_encoder"]
    assert found["64x96"]["vae_decoder"] == pytest.approx(1.5 * found["64x64"]["vae_decoder"], rel=0.01)


def test_a_size_that_a_bundle_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(BundleError, match="made for 64x64, 64x96, not for 512x512. Take one of its sizes, or export"):
        made(FIRST, SECOND).at((512, 512))
