"""Residual streams of 1e4 to 1e6 through the text tower on the HTP's emulator, alone and in an exported bundle."""

import json
from pathlib import Path

import pytest
from checkpoint_files import change_tensors, copy_of_tiny
from qnn_runs import SIZE, bundle, dreamlite, said
from safetensors.torch import load_file

from dreamlite_mobile.checkpoint import open_checkpoint
from export.driver import prompt_encoder

pytestmark = [pytest.mark.qnn, pytest.mark.slow]
LARGE = """
import json
from export.qnn_sdk import ready
ready()
import torch
from executorch.runtime import Runtime
from test_fp16_range import prompts, tower
from dreamlite_mobile.parity.metrics import compare
from export.fp16_range import keep_in_range
from export.qnn import lower
from export.targets import target

def decibels(encoder):
    compiled = lower({"generate": (encoder, calls[0])}, target("SM8650"), False)
    (found,) = Runtime.get().load_program(compiled.program.buffer).load_method("generate").execute(calls[0])
    return compare(found.numpy(), wanted.numpy()).snr_db if bool(torch.isfinite(found).all()) else None

calls, found = prompts(), {}
for size in (1e4, 1e5, 1e6):
    encoder = tower(size)
    wanted = encoder(*calls[0])
    before = decibels(encoder) if size > 1e5 else None
    keep_in_range({"generate": encoder}, {"generate": calls})
    found[size] = before, decibels(encoder)
print("SAID" + json.dumps(found))
"""


def test_large_residual_streams_come_out_right_on_the_htp_once_they_are_divided() -> None:
    found = said(LARGE)
    assert found["1000000.0"][0] is None or found["1000000.0"][0] < 25
    assert all(after > 48 for _, after in found.values()), found


LAYER = "model.language_model.layers.0."
MARK, CHANNEL, SYSTEM = 7, 5, 1
PROMPT = """
import json, sys
from pathlib import Path
from export.qnn_sdk import ready
ready()
from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.bundle_checks import geometry
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.parity.reference import reference_components
from dreamlite_mobile.runtime.load import load_component, load_embeddings
from dreamlite_mobile.runtime.session import prompt_encoder

bundle = open_bundle(Path(sys.argv[1]))
ids = prompt_encoder(bundle).generate("two green stars").ids
inputs = {"embeddings": load_embeddings(bundle).lookup(ids)[None]}
checkpoint = open_checkpoint(Path(sys.argv[2]))
torch = reference_components(checkpoint, geometry(bundle.manifest), ["generate"])
wanted = torch["text_encoder"].run("generate", inputs)["prompt_states"]
found = load_component(bundle, "text_encoder", emulator=True).run("generate", inputs)["prompt_states"]
print("SAID" + json.dumps(compare(found, wanted).snr_db))
"""


def large_checkpoint(folder: Path) -> Path:
    """A token of the system prompt (and of nothing else) makes the first MLP add about 1e6 to its row."""
    checkpoint = copy_of_tiny(folder)
    file = checkpoint / "text_encoder" / "model.safetensors"
    names = {name: LAYER + name for name in ("mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight")}
    stored = load_file(file)
    token = int(prompt_encoder(open_checkpoint(checkpoint)).generate("a red circle").ids[SYSTEM])
    embeddings = stored["model.language_model.embed_tokens.weight"]
    embeddings[:, MARK] = 0
    embeddings[token, MARK] = 1e4
    attention = stored[LAYER + "self_attn.o_proj.weight"]
    attention[MARK] = 0
    gate, up, down = (stored[name] for name in names.values())
    for weight in (gate, up):
        weight[0] = 0
        weight[0, MARK] = 8
    down[:, 0] = 0
    down[CHANNEL, 0] = 1e6 / (8 * 128**0.5) ** 2
    changed = {
        **names,
        "attention": LAYER + "self_attn.o_proj.weight",
        "rows": "model.language_model.embed_tokens.weight",
    }
    change_tensors(file, **{name: stored[name] for name in changed.values()})
    return checkpoint


def test_an_exported_tower_with_large_streams_is_divided_says_so_and_is_right(tmp_path: Path) -> None:
    checkpoint = large_checkpoint(tmp_path)
    asked = ("--backend", "qnn", "--emulator", "--size", SIZE, "--components", "text_encoder", "--modes", "generate")
    done = dreamlite("export", checkpoint, "--out", tmp_path / "b", *asked)
    assert done.code == 0, done.err
    plan = json.loads((tmp_path / "b" / "text_encoder.plan.json").read_text())
    assert plan["layers"][0]["stream_peak"] > 5e5
    assert (
        plan["divisors"]["tower.layers.0"]
        == plan["divisors"]["tower.layers.3.mlp"]
        == plan["layers"][0]["stream_divisor"]
    )
    assert said(PROMPT, tmp_path / "b", checkpoint) > 48


def test_an_ordinary_tower_is_watched_and_left_as_it_is() -> None:
    plan = json.loads((bundle() / "text_encoder.plan.json").read_text())
    assert plan["divisors"] == {} and {one["stream_divisor"] for one in plan["layers"]} == {1.0}
    assert {one["method"] for one in plan["activations"]} == {"generate", "edit"}
    assert all(one["overflow"] == 0 and one["headroom_bits"] > 2 for one in plan["activations"] if one["peak"])
