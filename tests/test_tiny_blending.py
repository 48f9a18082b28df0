"""Colours between two names: in the words, in the scene, and never a pair that is held out."""

import numpy as np
import pytest
import torch

from dreamlite_mobile.tiny.blending import blended_edit, blended_scene
from dreamlite_mobile.tiny.examples import SCENE_KINDS, SceneKind, edit_example, example
from dreamlite_mobile.tiny.models import Models, create, read_words
from dreamlite_mobile.tiny.wanted import Wanted, read_wanted, wanted_edit, wanted_scene
from dreamlite_mobile.tiny.world import COLOURS, EDIT_KINDS, EditKind, Sampler, Thing, held_out, render

UNCOLOURED: tuple[SceneKind, ...] = ("single", "two")


def colour(thing: Thing) -> np.ndarray:
    return np.add(COLOURS[thing.colour], thing.tint)


@pytest.mark.parametrize("kind", [kind for kind in SCENE_KINDS if kind not in UNCOLOURED])
def test_a_prompt_s_colour_lies_between_its_two_names(kind: SceneKind) -> None:
    sampler = Sampler(np.random.default_rng(4))
    found = [(one, blended_scene(one, sampler)) for one in (example(sampler, kind) for _ in range(40))]
    blends = [(one, *pair) for one, pair in found if pair is not None]
    assert len(blends) >= 15
    for plain, one, blend in blends:
        words, others = plain.caption.split(), blend.text.split()
        differing = [pair for pair in zip(words, others, strict=True) if pair[0] != pair[1]]
        ((old, new),) = differing
        old, new = old.strip(","), new.strip(",")
        assert old == blend.colour and not held_out(new, blend.shape)
        between = (1 - blend.share) * np.array(COLOURS[old]) + blend.share * np.array(COLOURS[new])
        changed = [
            thing for was, thing in zip(plain.scene.things, one.scene.things, strict=True)
            if was.shape == blend.shape and was.colour == blend.colour
        ]  # fmt: skip
        assert changed and all(np.abs(colour(thing) - between).max() <= 1 for thing in changed)
        assert not any(held_out(thing.colour, thing.shape) for thing in one.scene.things)
        assert sum(was != thing for was, thing in zip(plain.scene.things, one.scene.things, strict=True)) == len(
            changed
        )


@pytest.mark.parametrize("kind", UNCOLOURED)
def test_a_prompt_without_colours_is_not_blended(kind: SceneKind) -> None:
    sampler = Sampler(np.random.default_rng(4))
    assert all(blended_scene(example(sampler, kind), sampler) is None for _ in range(20))


@pytest.mark.parametrize("kind", EDIT_KINDS)
def test_only_the_colour_that_an_edit_brings_is_blended(kind: EditKind) -> None:
    sampler = Sampler(np.random.default_rng(4))
    found = [(one, blended_edit(one, sampler)) for one in (edit_example(sampler, kind) for _ in range(20))]
    if kind not in ("recolour", "replace", "add"):
        assert all(pair is None for _, pair in found)
        return
    blends = [(one, *pair) for one, pair in found if pair is not None]
    assert len(blends) >= 10
    for plain, one, blend in blends:
        assert blend.text != plain.instruction and one.edit.before == plain.edit.before
        for index, (was, thing) in enumerate(zip(plain.edit.after.things, one.edit.after.things, strict=True)):
            assert (was == thing) == (index != plain.edit.result)


def test_a_picture_is_mended_to_the_colour_between() -> None:
    """Drawn in the first name's plain colour, a thing keeps its place and takes the colour between."""
    sampler = Sampler(np.random.default_rng(8))
    for _ in range(12):
        plain = example(sampler, "colours")
        asked = wanted_scene(plain, sampler, 1.0)
        assert asked.blend is not None
        (thing,) = asked.mended(render(plain.scene)).things
        (drawn,) = plain.scene.things
        assert (thing.colour, thing.tint) == (asked.blend.name, asked.blend.tint)
        assert max(abs(thing.x - drawn.x), abs(thing.y - drawn.y)) < 0.02


def test_an_edit_is_mended_to_the_colour_between() -> None:
    sampler = Sampler(np.random.default_rng(8))
    for _ in range(12):
        plain = edit_example(sampler, "recolour")
        asked = wanted_edit(plain, sampler, 1.0)
        assert asked.blend is not None and plain.edit.result is not None
        thing = asked.mended(render(plain.edit.after)).things[plain.edit.result]
        assert (thing.colour, thing.tint) == (asked.blend.name, asked.blend.tint)


def test_without_blends_every_colour_has_its_name() -> None:
    sampler = Sampler(np.random.default_rng(8))
    assert all(wanted_scene(example(sampler, "colours"), sampler, 0.0).blend is None for _ in range(12))
    assert all(wanted_edit(edit_example(sampler, "add"), sampler, 0.0).blend is None for _ in range(12))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return create(tmp_path_factory.mktemp("blending") / "checkpoint", 0, torch.device("cpu"))


@torch.no_grad()
def test_the_tower_s_words_are_mixed_by_the_share(models: Models) -> None:
    sampler = Sampler(np.random.default_rng(6))
    pairs = [pair for pair in (blended_scene(example(sampler, "position"), sampler) for _ in range(12)) if pair]
    asked = [Wanted(one.caption, lambda _: one.scene, blend) for one, blend in pairs]  # noqa: B023 - never called
    asked[0] = Wanted(asked[0].text, asked[0].mend)
    found = read_wanted(models, asked, None)
    first = read_words(models, [one.text for one in asked])
    second = read_words(models, [one.blend.text if one.blend else one.text for one in asked])
    assert torch.equal(found.states[0], first.states[0])
    for row, (_, blend) in list(enumerate(pairs))[1:]:
        wanted = (1 - blend.share) * first.states[row] + blend.share * second.states[row]
        torch.testing.assert_close(found.states[row], wanted, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(found.states[row], first.states[row])


def test_texts_of_different_lengths_are_refused(models: Models) -> None:
    sampler = Sampler(np.random.default_rng(6))
    pair = blended_scene(example(sampler, "position"), sampler)
    assert pair is not None
    with pytest.raises(ValueError, match="numbers of tokens"):
        read_wanted(models, [Wanted(pair[0].caption + " and more", lambda _: pair[0].scene, pair[1])], None)
