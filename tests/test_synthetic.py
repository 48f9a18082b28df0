"""Synthetic checkpoints. Oracle: diffusers and transformers load the folder and run it themselves."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import tiny_checkpoint
from diffusers import (
    AutoencoderTiny,
    DreamLiteMobilePipeline,
    DreamLiteUNetModel,
    FlowMatchEulerDiscreteScheduler,
)
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.config import CONFIGS, MOBILE, TINY
from dreamlite_mobile.errors import ConfigError, OutputError
from dreamlite_mobile.networks import TextEncoder, TextLayout, build, expected_tensors, fold
from dreamlite_mobile.networks.form import REFERENCE
from dreamlite_mobile.prompt import PromptConfig
from dreamlite_mobile.synthetic import count_weights, make_checkpoint, write_component
from dreamlite_mobile.synthetic_weights import recipe
from dreamlite_mobile.tensorfiles import TensorPlan
from dreamlite_mobile.tiny.vocabulary import CONTROL_TOKENS, train_tokenizer
from dreamlite_mobile.tiny.wording import words

TEMPLATES = (PromptConfig().generate_template, PromptConfig().edit_template)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@cache
def tokenizer(control_start: int) -> Tokenizer:
    return Tokenizer.from_str(train_tokenizer(TEMPLATES, control_start))


def test_equal_seeds_give_equal_bytes(tmp_path: Path) -> None:
    assert files_of(make_checkpoint("tiny", 0, tmp_path / "again")) == files_of(tiny_checkpoint())


def test_equal_seeds_give_equal_bytes_in_another_process(tmp_path: Path) -> None:
    """Nothing may depend on hash randomisation or on what ran before."""
    run_in_process("make_checkpoint('tiny', 0, Path(sys.argv[1]))", tmp_path / "other", hash_seed="7")
    assert files_of(tmp_path / "other") == files_of(tiny_checkpoint())


def test_another_seed_changes_every_tensor(tmp_path: Path) -> None:
    other = make_checkpoint("tiny", 1, tmp_path / "other")
    for file in tiny_checkpoint().rglob("*.safetensors"):
        stored, changed = load_file(file), load_file(other / file.relative_to(tiny_checkpoint()))
        assert not any(torch.equal(stored[name], changed[name]) for name in stored)


def test_no_two_tensors_hold_the_same_draw() -> None:
    stored = load_file(tiny_checkpoint() / "unet/diffusion_pytorch_model.safetensors")
    first, second = (stored[f"down_blocks.{level}.resnets.0.norm2.bias"][:64] for level in (0, 1))
    assert not torch.equal(first, second)


def test_weights_are_half_precision_and_published_names() -> None:
    for subfolder, expected in expected_tensors(TINY).items():
        (file,) = (tiny_checkpoint() / subfolder).glob("*.safetensors")
        stored = load_file(file)
        assert {name: tuple(tensor.shape) for name, tensor in stored.items()} == expected
        assert {tensor.dtype for tensor in stored.values()} == {torch.float16}


@pytest.mark.parametrize(
    ("network", "subfolder"),
    [(DreamLiteUNetModel, "unet"), (AutoencoderTiny, "vae"), (Qwen3VLForConditionalGeneration, "text_encoder")],
    ids=["unet", "vae", "text_encoder"],
)
def test_published_class_loads_it_with_no_key_left_over(network: Any, subfolder: str) -> None:
    model, report = network.from_pretrained(tiny_checkpoint(), subfolder=subfolder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    (file,) = (tiny_checkpoint() / subfolder).glob("*.safetensors")
    state = model.state_dict()
    assert all(torch.equal(state[name].float(), tensor.float()) for name, tensor in load_file(file).items())


def test_published_scheduler_reads_its_settings() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(tiny_checkpoint(), subfolder="scheduler")
    assert all(scheduler.config[key] == getattr(TINY.scheduler, key) for key in TINY.scheduler.__slots__)


def test_published_tokenizer_class_reads_prompts_alike() -> None:
    published = AutoTokenizer.from_pretrained(tiny_checkpoint() / "tokenizer")
    own = Tokenizer.from_file(str(tiny_checkpoint() / "tokenizer/tokenizer.json"))
    for text in (*TEMPLATES, *words()[::50], "Ünïcode 你好 🐱\t\n  I'll  see 1234 things...", ""):
        assert published(text)["input_ids"] == own.encode(text).ids


def test_published_processor_places_the_image_tokens() -> None:
    from PIL import Image

    processor = Qwen3VLProcessor.from_pretrained(tiny_checkpoint() / "processor")
    inputs = processor(text=[TEMPLATES[1]], images=[Image.new("RGB", (512, 512), "red")], return_tensors="pt")
    vision = TINY.vision
    assert (inputs["input_ids"] == TINY.text.image_token_id).sum() == vision.num_tokens
    assert inputs["pixel_values"].shape == (vision.num_patches, vision.patch_dim * vision.temporal_patch_size)
    assert torch.allclose(inputs["pixel_values"][0, :4], torch.ones(4))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_control_tokens_stand_at_the_ids_of_the_configuration(config: Any) -> None:
    start = config.text.image_token_id - CONTROL_TOKENS.index("<|image_pad|>")
    found = tokenizer(start)
    assert found.token_to_id("<|image_pad|>") == config.text.image_token_id
    assert found.token_to_id("<|vision_start|>") == config.text.vision_start_token_id
    assert found.token_to_id("<|vision_end|>") == config.text.vision_end_token_id
    assert found.token_to_id("<|endoftext|>") == start
    assert max(found.get_vocab().values()) < config.text.vocab_size


def test_full_size_control_tokens_have_the_published_ids() -> None:
    start = MOBILE.text.image_token_id - CONTROL_TOKENS.index("<|image_pad|>")
    published = {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645, "<|video_pad|>": 151656}
    assert {token: tokenizer(start).token_to_id(token) for token in published} == published


@pytest.mark.parametrize("start", [1008, 151643])
def test_template_prefixes_have_the_published_lengths(start: int) -> None:
    generate, edit = TEMPLATES
    assert len(tokenizer(start).encode(generate.split("{}")[0]).ids) == 34
    assert len(tokenizer(start).encode(edit.split("<|vision_start|>")[0]).ids) == 64


def test_any_text_survives_the_tokenizer() -> None:
    text = "tabs\tand\r\nlines, Ünïcode 你好 🐱 \x00 'quoted' 12345   spaces "
    assert tokenizer(1008).decode(tokenizer(1008).encode(text).ids) == text


def test_every_word_of_the_world_is_one_token() -> None:
    found = {f" {word.strip(',')}" for text in words() for word in text.split()[1:]}
    assert len(found) >= 60
    assert [word for word in found if len(tokenizer(1008).encode(word).ids) > 1] == []


def test_a_caption_is_as_many_tokens_as_words() -> None:
    text = "a red circle left of a blue square on a green background"
    assert len(tokenizer(1008).encode(text).ids) == len(text.split())


@cache
def pipeline() -> DreamLiteMobilePipeline:
    loaded = DreamLiteMobilePipeline.from_pretrained(tiny_checkpoint(), torch_dtype=torch.float32)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def velocities(prompt: str) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    hook = pipeline().unet.register_forward_hook(lambda _, __, output: found.append(output[0][..., :16]))
    generator = torch.Generator().manual_seed(0)
    pipeline()(prompt, height=128, width=128, generator=generator, output_type="latent")
    hook.remove()
    return found


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).std() / one.std())


def test_published_pipeline_moves_sanely_and_listens() -> None:
    red, green = velocities("a red circle left of a blue square"), velocities("a large green star on a black wall")
    assert all(0.3 < velocity.std() < 3 for velocity in red + green)
    assert difference(red[0], green[0]) > 0.1
    assert difference(red[0], red[1]) > 0.1


def test_condition_and_size_change_the_velocity() -> None:
    torch.manual_seed(0)
    latents, states = torch.randn(1, 4, 16, 16), torch.randn(1, 20, TINY.text.hidden_size)

    @torch.no_grad()
    def velocity(condition: torch.Tensor, width: float) -> torch.Tensor:
        added = {"time_ids": torch.tensor([[width, 128.0]])}
        output = pipeline().unet(
            torch.cat([latents, condition], 3), torch.tensor([500.0]), states, added_cond_kwargs=added
        )
        return output.sample[..., :16]

    plain = velocity(torch.zeros_like(latents), 128.0)
    assert difference(plain, velocity(torch.randn_like(latents), 128.0)) > 0.1
    assert difference(plain, velocity(torch.zeros_like(latents), 1024.0)) > 0.1


@torch.no_grad()
def test_text_states_are_lively_and_far_from_half_precision_limits() -> None:
    checkpoint = open_checkpoint(tiny_checkpoint())
    tower = checkpoint.load("text_encoder", build("text_encoder", TINY, REFERENCE))
    encoder = fold(TextEncoder(tower, TextLayout(40, 0)))  # type: ignore[arg-type]
    states = encoder(torch.from_numpy(checkpoint.embedding_rows().lookup(range(40)))[None])
    assert 0.1 < states.std() < 1e3
    assert states.abs().max() < 6e4
    assert difference(states[:, 10], states[:, 20]) > 0.5


@torch.no_grad()
def test_autoencoder_is_neither_constant_nor_saturated() -> None:
    torch.manual_seed(0)
    picture = pipeline().vae.decode(torch.randn(1, 4, 16, 16)).sample
    assert 0.05 < picture.std() < 0.7
    assert (picture.abs() >= 1).float().mean() < 0.05
    assert 0.1 < pipeline().vae.encode(torch.rand(1, 3, 64, 64) * 2 - 1).latents.std() < 3


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_tensor_gets_a_spread_that_half_precision_holds(config: Any) -> None:
    for subfolder, shapes in expected_tensors(config).items():
        for name, shape in shapes.items():
            how = recipe(subfolder, name, shape, config)
            assert 1e-4 < how.std <= 1, name
            assert (how.mean > 0.9) == (len(shape) == 1 and name.endswith("weight")), name


def test_shards_are_named_and_indexed_as_upstream_reads_them(tmp_path: Path) -> None:
    (tmp_path / "text_encoder").mkdir()
    stored = load_file(tiny_checkpoint() / "text_encoder/model.safetensors")
    plans = [
        TensorPlan(name, "F16", tuple(tensor.shape), lambda tensor=tensor: [tensor.numpy().tobytes()])
        for name, tensor in stored.items()
    ]
    write_component(tmp_path / "text_encoder", "model", plans, {"format": "pt"}, shard_bytes=500_000)
    assert len(list(tmp_path.rglob("model-0000?-of-*.safetensors"))) > 3
    config = tiny_checkpoint() / "text_encoder/config.json"
    (tmp_path / "text_encoder/config.json").write_bytes(config.read_bytes())
    model, report = Qwen3VLForConditionalGeneration.from_pretrained(
        tmp_path / "text_encoder", output_loading_info=True, dtype=torch.float16
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in stored.items())


def test_progress_counts_every_weight(tmp_path: Path) -> None:
    counts: list[int] = []
    make_checkpoint("tiny", 0, tmp_path / "t", progress=counts.append)
    assert sum(counts) == count_weights("tiny")


def test_full_size_has_the_published_number_of_weights() -> None:
    unet = sum(torch.Size(shape).numel() for shape in expected_tensors(MOBILE)["unet"].values())
    assert unet == 389_968_388
    assert 2.4e9 < count_weights("mobile") < 2.7e9


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seed_out_of_range_is_refused(seed: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"seed = {seed}"):
        make_checkpoint("tiny", seed, tmp_path / "t")


def test_unknown_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mobile, tiny.*Did you mean 'tiny'"):
        make_checkpoint("tinny", 0, tmp_path / "t")
    assert not list(tmp_path.iterdir())


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    assert open_checkpoint(make_checkpoint("tiny", 0, tmp_path / "t")).config == TINY


def test_existing_checkpoint_is_replaced_only_by_force(tmp_path: Path) -> None:
    out = make_checkpoint("tiny", 0, tmp_path / "t")
    before = files_of(out)
    with pytest.raises(OutputError, match="--force"):
        make_checkpoint("tiny", 1, out)
    assert files_of(out) == before
    make_checkpoint("tiny", 1, out, force=True)
    assert files_of(out) != before
    assert list(tmp_path.iterdir()) == [out]


def test_force_never_replaces_anything_but_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="is no checkpoint"):
        make_checkpoint("tiny", 0, tmp_path, force=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_file_in_the_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("mine")
    with pytest.raises(OutputError):
        make_checkpoint("tiny", 0, tmp_path / "t", force=True)


def test_impossible_place_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path / ("x" * 300), tmp_path / "missing/t"):
        with pytest.raises(OutputError):
            make_checkpoint("tiny", 0, place)


def run_in_process(code: str, out: Path, hash_seed: str = "0", wait: bool = True) -> subprocess.Popen[bytes]:
    imports = "import sys, time\nfrom pathlib import Path\nfrom dreamlite_mobile.synthetic import make_checkpoint\n"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONHASHSEED": hash_seed}
    process = subprocess.Popen([sys.executable, "-c", imports + code, str(out)], env=environment)
    if wait:
        assert process.wait(timeout=120) == 0
    return process


def test_killed_run_leaves_nothing_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    out = tmp_path / "t"
    slow = "make_checkpoint('tiny', 0, Path(sys.argv[1]), progress=lambda count: time.sleep(0.2))"
    process = run_in_process(slow, out, wait=False)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".")
    make_checkpoint("tiny", 0, out)
    assert list(tmp_path.iterdir()) == [out]


def test_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_checkpoint("tiny", 0, tmp_path / "t", progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_written_json_is_readable_text() -> None:
    for file in tiny_checkpoint().rglob("*.json"):
        assert json.loads(file.read_text(encoding="utf-8"))
        assert file.read_text(encoding="utf-8").endswith("\n")
