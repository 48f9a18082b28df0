"""Residual streams and products that fp16 cannot hold. Oracles: the same tower in fp32, and torch's own fp16."""

import copy

import pytest
import torch

from dreamlite_mobile.config import TextConfig
from dreamlite_mobile.errors import ExportError
from dreamlite_mobile.networks.form import COREML, HTP, Form, fold
from dreamlite_mobile.networks.text import TextEncoder, TextLayout, TextTower
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.parity.numbers import FP16_MAX, Watch, attach, complaints
from export.fp16_range import ROOM, keep_in_range

CONFIG = TextConfig(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=128,
    num_layers=4,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    mrope_section=(4, 2, 2),
)
LAYOUT = TextLayout(length=24, drop=4)
LARGE = 2
"""A row of the system prefix, which is dropped from the states but which every later token sees."""
MARK = 7
SIZES = (1e4, 1e5, 1e6)


def tower(stream: float = 0.0, form: Form = HTP, hidden: float = 4096.0) -> TextEncoder:
    """Random weights, but the first MLP multiplies a marked row's numbers to about `hidden` and adds about `stream` to
    one channel of it, and a third of that, with the other sign, to the next."""
    torch.manual_seed(3)
    encoder = TextEncoder(TextTower(CONFIG, form), LAYOUT)
    for name, parameter in encoder.named_parameters():
        parameter.data = torch.ones_like(parameter) if "norm" in name else torch.randn_like(parameter) / 8
    first = encoder.tower.decoder_layers()[0]
    first.self_attn.o_proj.weight.data[MARK] = 0.0
    mlp = first.mlp
    for projection, weight in ((mlp.gate_proj, 8.0), (mlp.up_proj, hidden / 512)):
        projection.weight.data[0] = 0.0
        projection.weight.data[0, MARK] = weight
    mlp.down_proj.weight.data[:, 0] = 0.0
    mlp.down_proj.weight.data[5:7, 0] = torch.tensor([stream, -stream / 3]) / hidden
    return fold(encoder)


def prompts() -> list[tuple[torch.Tensor]]:
    """Embeddings of two prompts with the mark on one row of the system prefix."""
    made = []
    for seed in (0, 1):
        embeddings = torch.randn(1, LAYOUT.length, CONFIG.hidden_size, generator=torch.Generator().manual_seed(seed))
        embeddings[..., MARK] = 0.0
        embeddings[0, LARGE, MARK] = 100.0
        made.append((embeddings,))
    return made


def decibels(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return compare(found.float().numpy(), wanted.numpy()).snr_db


def test_a_tower_of_ordinary_numbers_is_left_as_it_is() -> None:
    encoder = tower()
    before = copy.deepcopy(encoder.state_dict())
    found = keep_in_range({"generate": encoder}, {"generate": prompts()})
    assert found.divisors == {} and all(one.peak and one.overflow == 0 for one in found.activations)
    assert all(torch.equal(weight, before[name]) for name, weight in encoder.state_dict().items())


@pytest.mark.parametrize("form", [HTP, COREML], ids=lambda form: form.name)
@pytest.mark.parametrize("size", SIZES)
def test_a_large_stream_is_carried_divided_and_the_states_stay_what_they_were(size: float, form: Form) -> None:
    encoder, calls = tower(size, form), prompts()
    wanted = encoder(*calls[0])
    found = keep_in_range({"generate": encoder}, {"generate": calls})
    first = found.layers[0]
    assert 0.8 * size < first.stream_peak < 1.2 * size
    assert first.stream_peak * ROOM / 2 < first.stream_divisor * FP16_MAX or first.stream_divisor == 1
    assert decibels(encoder(*calls[0]), wanted) > 100
    assert (found.divisors == {}) == (size < FP16_MAX / ROOM)
    assert min(one.headroom_bits for one in found.activations if one.headroom_bits is not None) >= 2


@pytest.mark.parametrize("size", SIZES)
def test_torchs_fp16_follows_fp32_once_the_stream_is_divided(size: float) -> None:
    encoder, calls = tower(size), prompts()
    (embeddings,) = calls[0]
    wanted, plain = encoder(embeddings), copy.deepcopy(encoder).half()
    keep_in_range({"generate": encoder}, {"generate": calls})
    assert decibels(encoder.half()(embeddings.half()), wanted) > 50
    assert bool(torch.isfinite(plain(embeddings.half())).all()) == (size < FP16_MAX)


def test_what_an_mlp_multiplies_is_divided_by_itself() -> None:
    encoder, calls = tower(stream=10.0, hidden=1e6), prompts()
    (embeddings,) = calls[0]
    wanted, plain = encoder(embeddings), copy.deepcopy(encoder).half()
    found = keep_in_range({"generate": encoder}, {"generate": calls})
    assert found.divisors == {"tower.layers.0.mlp.up_proj": found.layers[0].hidden_divisor}
    assert decibels(encoder.half()(embeddings.half()), wanted) > 50
    assert not torch.isfinite(plain(embeddings.half())).all()


def test_methods_that_share_a_tower_are_divided_once() -> None:
    encoder, calls = tower(1e6), prompts()
    other = fold(TextEncoder(encoder.tower, TextLayout(LAYOUT.length, LAYOUT.drop)))
    wanted = encoder(*calls[0]), other(*calls[1])
    keep_in_range({"generate": encoder, "edit": other}, {"generate": calls[:1], "edit": calls[1:]})
    assert decibels(encoder(*calls[0]), wanted[0]) > 100 and decibels(other(*calls[1]), wanted[1]) > 100


def test_deepstack_features_join_a_divided_stream() -> None:
    encoder = tower(1e6)
    encoder = fold(TextEncoder(encoder.tower, TextLayout(LAYOUT.length, LAYOUT.drop, (8, 12), 2)))
    call = (*prompts()[0], torch.randn(2, 4, CONFIG.hidden_size))
    wanted = encoder(*call)
    keep_in_range({"edit": encoder}, {"edit": [call]})
    assert decibels(encoder(*call), wanted) > 100


@pytest.mark.parametrize(
    ("row", "where", "said"),
    [(LAYOUT.drop + 1, 100.0, "generate prompt states"), (LARGE, 1e5, "generate embeddings")],
)
def test_what_no_division_mends_is_refused_by_name(row: int, where: float, said: str) -> None:
    """A large row that is among the states, which the U-Net takes in fp16; and one that comes large."""
    (embeddings,) = prompts()[0]
    embeddings[..., MARK] = 0.0
    embeddings[0, row, MARK] = where
    with pytest.raises(ExportError, match=f"{said}.* exceed what fp16 holds .*text_encoder=w8a16"):
        keep_in_range({"generate": tower(1e5)}, {"generate": [(embeddings,)]})


def test_the_numbers_watch_counts_a_divided_layer_as_the_program_carries_it() -> None:
    encoder, calls = tower(1e6), prompts()
    divisors = keep_in_range({"generate": copy.deepcopy(encoder)}, {"generate": calls}).divisors
    for known, overflow in (({}, True), ({"text_encoder": divisors}, False)):
        watch = Watch(divisors=known, active=True)
        attach(watch, [encoder])
        watch.where = ("text_encoder", "generate")
        encoder(*calls[0])
        assert any(layer.counts.overflow for layer in watch.found()) == overflow
        assert bool(complaints(watch.found(), {"text_encoder"})) == overflow
