"""A constant prefix whose keys and values the text tower holds. Oracle: the same tower running every token."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import SIZE
from checkpoint_files import tiny_checkpoint

from dreamlite_mobile.assembly import component_methods
from dreamlite_mobile.bundle import Bundle, open_bundle
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.components import MODES, component_specs, sample_inputs
from dreamlite_mobile.errors import BundleError, ConfigError
from dreamlite_mobile.networks.form import FORMS, XNNPACK
from dreamlite_mobile.noise import initial_latents
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.parity.reference import reference_components, reference_pipeline
from dreamlite_mobile.pipeline import finish
from dreamlite_mobile.runtime.load import load_component
from dreamlite_mobile.runtime.session import prompt_encoder as encoder_of
from export.driver import ExportRequest, geometry_of, plan_export, prompt_encoder, run_export
from export.parts import key_of
from export.quantize import quantiser

CHECKPOINT = open_checkpoint(tiny_checkpoint())
ENCODER = prompt_encoder(CHECKPOINT)
WHOLE = geometry_of(CHECKPOINT.config, ENCODER, SIZE, SIZE)
SHORT = geometry_of(CHECKPOINT.config, ENCODER, SIZE, SIZE, precompute_prefix=True)


def request(**changes: object) -> ExportRequest:
    asked = {"components": ("text_encoder",), "precompute_prefix": True}
    return ExportRequest(CHECKPOINT, "tiny", "xnnpack", SIZE, SIZE, **(asked | changes))


def whole_inputs(mode: str) -> dict[str, np.ndarray]:
    """Seeded inputs of all tokens, whose first are the prefix."""
    inputs = sample_inputs(component_specs(WHOLE)["text_encoder"].methods[mode], 0)
    prefix = SHORT.prefix(mode)
    inputs["embeddings"][0, : len(prefix)] = CHECKPOINT.embedding_rows().lookup(prefix)
    return inputs


def short_inputs(mode: str) -> dict[str, np.ndarray]:
    """The same without the prefix."""
    inputs = whole_inputs(mode)
    return inputs | {"embeddings": np.ascontiguousarray(inputs["embeddings"][:, len(SHORT.prefix(mode)) :])}


def states(form: str, mode: str, prefix: bool) -> np.ndarray:
    """Prompt states in torch."""
    geometry, inputs = (SHORT, short_inputs(mode)) if prefix else (WHOLE, whole_inputs(mode))
    module = component_methods(CHECKPOINT, "text_encoder", FORMS[form], geometry, [mode])[mode]
    return module(*map(torch.from_numpy, inputs.values())).numpy()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", ["reference", "xnnpack", "onnx"])
def test_states_are_those_of_running_every_token(form: str, mode: str) -> None:
    assert len(SHORT.prefix(mode)) == SHORT.drop(mode) > 0
    assert compare(states(form, mode, prefix=True), states("reference", mode, prefix=False)).snr_db >= 100


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Both modes of the text tower through XNNPACK."""
    return run_export(plan_export(request()), tmp_path_factory.mktemp("prefix") / "bundle").bundle


@pytest.mark.parametrize("mode", MODES)
def test_the_exported_file_gives_those_states(bundle: Bundle, mode: str) -> None:
    spec = bundle.component("text_encoder").methods[mode]
    assert spec.delegates is not None and (spec.delegates.count, spec.delegates.operators_outside) == (1, ())
    found = load_component(bundle, "text_encoder", threads=1).run(mode, short_inputs(mode))["prompt_states"]
    assert compare(found, states("reference", mode, prefix=False)).snr_db >= 100


def test_the_manifest_says_which_tokens_are_not_run(bundle: Bundle) -> None:
    prompts = open_bundle(bundle.path).manifest.prompt.modes
    for mode in MODES:
        entry = bundle.component("text_encoder").methods[mode]
        assert prompts[mode].prefix_tokens == SHORT.prefix(mode)
        assert entry.inputs[0].shape[1] == prompts[mode].input_length - prompts[mode].drop_tokens
    encoder_of(bundle)


def test_a_tokenizer_with_another_prefix_is_refused(bundle: Bundle) -> None:
    prompt = bundle.manifest.prompt
    other = prompt.modes["edit"].model_copy(update={"prefix_tokens": SHORT.prefix("edit")[::-1]})
    changed = prompt.model_copy(update={"modes": prompt.modes | {"edit": other}})
    manifest = bundle.manifest.model_copy(update={"prompt": changed})
    with pytest.raises(BundleError, match="begins every edit prompt with other tokens"):
        encoder_of(Bundle(bundle.path, manifest))


def test_pictures_are_the_same(tmp_path: Path) -> None:
    drawn = []
    for geometry in (WHOLE, SHORT):
        components = reference_components(CHECKPOINT, geometry, ["generate"])
        pipeline = reference_pipeline(CHECKPOINT, geometry, ENCODER, components)
        drawn.append(finish(pipeline.generate("a red circle", initial_latents(1, geometry.latents), 2)).latents)
    assert compare(drawn[1], drawn[0]).snr_db >= 100


def test_a_cache_tells_them_apart() -> None:
    keys = [key_of(plan_export(request(precompute_prefix=prefix)), "text_encoder") for prefix in (True, False)]
    assert keys[0] != keys[1]


def test_backends_that_were_not_measured_are_refused() -> None:
    with pytest.raises(ConfigError, match="--precompute-prefix: coreml .* supported: xnnpack, onnx"):
        plan_export(replace(request(), backend="coreml"))


@pytest.mark.parametrize("mode", MODES)
def test_a_rounded_tower_holds_its_own_keys(mode: str) -> None:
    """In 4 bits: the prefix was run through the rounded layers, as it is where every token is run."""
    found = []
    for geometry, inputs in ((SHORT, short_inputs(mode)), (WHOLE, whole_inputs(mode))):
        prepare = quantiser("text_encoder", "w4")
        module = component_methods(CHECKPOINT, "text_encoder", XNNPACK, geometry, [mode], prepare)[mode]
        found.append(module(*map(torch.from_numpy, inputs.values())).numpy())
    assert compare(*found).snr_db >= 40 > compare(found[0], states("reference", mode, prefix=False)).snr_db
