"""The list of components: shapes against the torch modules themselves, names, sample inputs."""

import numpy as np
import pytest
from checkpoint_files import tiny_checkpoint

from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.components import COMPONENTS, MODES, Geometry, component_specs, sample_inputs
from dreamlite_mobile.config import MOBILE
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.parity.reference import reference_components
from export.driver import geometry_of, prompt_encoder

PUBLISHED = Geometry(MOBILE, 1024, 1024, drop_generate=34, drop_edit=64, states_generate=200, states_edit=464)


@pytest.mark.parametrize("name", COMPONENTS)
def test_declared_outputs_are_what_the_networks_return(name: str) -> None:
    checkpoint = open_checkpoint(tiny_checkpoint())
    geometry = geometry_of(checkpoint.config, prompt_encoder(checkpoint), 96, 64)
    component = reference_components(checkpoint, geometry, list(MODES))[name]
    for method, spec in component_specs(geometry)[name].methods.items():
        outputs = component.run(method, sample_inputs(spec, 0))
        assert {key: value.shape for key, value in outputs.items()} == {out.name: out.shape for out in spec.outputs}


def test_published_shapes_are_those_of_the_design() -> None:
    specs = component_specs(PUBLISHED)
    shapes = {
        (name, method): {tensor.name: tensor.shape for tensor in (*spec.inputs, *spec.outputs)}
        for name, component in specs.items()
        for method, spec in component.methods.items()
    }
    assert shapes["text_encoder", "generate"] == {"embeddings": (1, 234, 2048), "prompt_states": (1, 200, 2048)}
    assert shapes["text_encoder", "edit"]["embeddings"] == (1, 528, 2048)
    assert shapes["text_encoder", "edit"]["deepstack"] == (3, 256, 2048)
    assert shapes["vision_encoder", "forward"]["patches"] == (1024, 768)
    assert shapes["unet", "edit"]["mask"] == (1, 464)
    assert shapes["unet", "generate"]["latents"] == (1, 4, 128, 128)
    assert shapes["unet", "generate"]["step_embedding"] == (1, 1024)
    assert shapes["vae_decoder", "forward"]["image"] == (1, 3, 1024, 1024)


def test_generate_alone_needs_no_source_picture() -> None:
    assert list(component_specs(PUBLISHED, ["generate"])) == ["text_encoder", "unet", "vae_decoder"]


@pytest.mark.parametrize(
    ("modes", "only", "message"),
    [
        (["draw"], None, "unknown mode 'draw'"),
        ([], None, "no mode given"),
        (["generate"], ["unett"], "unknown component 'unett'.*Did you mean 'unet'"),
        (["generate"], ["vae_encoder"], "only used by edit"),
    ],
)
def test_unknown_names_are_refused(modes: list[str], only: list[str] | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        component_specs(PUBLISHED, modes, only)


def test_sample_inputs_are_seeded_and_masks_keep_padding() -> None:
    spec = component_specs(PUBLISHED)["unet"].methods["edit"]
    first, again, other = sample_inputs(spec, 1), sample_inputs(spec, 1), sample_inputs(spec, 2)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["latents"], other["latents"])
    mask = first["mask"][0]
    assert set(mask) == {0.0, 1.0} and np.array_equal(mask, np.sort(mask)[::-1])
