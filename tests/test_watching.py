"""What the numbers watch knows of a bundle in integers. Oracle: the reference run by hand, and the largest weights."""

import json
from functools import cache
from pathlib import Path

from checkpoint_files import tiny_checkpoint
from planted import bundle_of

from dreamlite_mobile.assembly import component_methods
from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_checks import geometry
from dreamlite_mobile.bundle_schema import CalibrationEntry, FileEntry, HtpEntry
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.cli.watching import watch_of
from dreamlite_mobile.networks.form import REFERENCE

PLAN = "vae_decoder.plan.json"
CHIP = HtpEntry(
    soc="SM8650",
    chipset=57,
    architecture="V75",
    vtcm_mb=8,
    qnn_build="2.49.40.260616153101",
    shared_weights=False,
    calibration=CalibrationEntry(pictures=1, steps=4, sha256="0" * 64),
)


@cache
def decoder() -> Bundle:
    return bundle_of("vae_decoder", "onnx")


def integers(folder: Path, pictures: bool = True) -> Bundle:
    """The manifest of a decoder in w8a16 with its plan; the watch opens no other file than that."""
    bundle = decoder()
    entry = bundle.component("vae_decoder").model_copy(update={"precision": "w8a16"})
    htp = CHIP if pictures else CHIP.model_copy(update={"calibration": None})
    (folder / PLAN).write_text(json.dumps({"bits": 8, "narrow": ["layers.5.conv.2"], "short": []}))
    (folder / "tokenizer.json").write_bytes(bundle.file("tokenizer.json").read_bytes())
    files = {**bundle.manifest.files, PLAN: FileEntry(bytes=1, sha256="0" * 64)}
    changed = {"backend": "qnn", "htp": htp, "components": {"vae_decoder": entry}, "files": files}
    return Bundle(folder, bundle.manifest.model_copy(update=changed))


def test_codes_and_spans_of_a_component_in_integers(tmp_path: Path) -> None:
    bundle, checkpoint = integers(tmp_path), open_checkpoint(tiny_checkpoint())
    watch = watch_of(bundle, checkpoint)
    network = component_methods(checkpoint, "vae_decoder", REFERENCE, geometry(bundle.manifest), ["generate"])[
        "forward"
    ]
    codes = watch.quantised["vae_decoder"]
    assert set(codes) == {"layers.5.conv.2"}
    layer = codes["layers.5.conv.2"]
    weight = network.get_submodule("layers.5.conv.2").weight
    assert (layer.weights, layer.scales) == (weight.numel(), len(weight))
    assert layer.scales <= layer.at_end < layer.weights / 20 and not layer.saturated
    names = {name for name, _ in network.named_modules() if name}
    assert {place[2] for place in watch.spans} <= names
    assert {place[:2] for place in watch.spans} == {("vae_decoder", "forward")}
    assert all(low <= 0 <= high and high > low for low, high in watch.spans.values())


def test_nothing_is_known_without_calibration_or_of_onnx(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny_checkpoint())
    for bundle in (integers(tmp_path, pictures=False), decoder()):
        watch = watch_of(bundle, checkpoint)
        assert not watch.quantised and not watch.spans
