"""Oracles: the Random123 known-answer vectors, and the module's docstring followed word by word in plain Python."""

import hashlib
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.noise import (
    cos_sin_of_turn,
    initial_latents,
    load_latents,
    log_of_uniform,
    normals,
    philox,
)

SHAPE = (1, 4, 16, 24)
SEEDS = st.integers(0, 2**64 - 1)

KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS, ids=["zeros", "ones", "pi"])
def test_philox_gives_the_published_answers(counter: str, key: str, answer: str) -> None:
    k0, k1 = words(key)
    assert philox(np.array([words(counter)], np.uint64), (k0, k1))[0].tolist() == words(answer)


def plain_philox(counter: list[int], key: list[int]) -> list[int]:
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for i in range(10):
        if i:
            k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
        p, q = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (q >> 32) ^ c1 ^ k0, q % 2**32, (p >> 32) ^ c3 ^ k1, p % 2**32
    return [c0, c1, c2, c3]


def plain_horner(terms: list[float], x: float) -> float:
    total = terms[-1]
    for term in terms[-2::-1]:
        total = total * x + term
    return total


def plain_log(word: int) -> float:
    m, e = math.frexp((word + 0.5) / 2**32)
    if m < 0.7071067811865476:
        m, e = 2 * m, e - 1
    f = (m - 1) / (m + 1)
    return e * 0.6931471805599453 + (f + f) * plain_horner([1.0 / n for n in range(1, 24, 2)], f * f)


def plain_cos_sin(word: int) -> tuple[float, float]:
    turned = (word + 2**29) % 2**32
    a = ((turned % 2**30) - 2**29 + 0.5) * (1.5707963267948966 / 2**30)
    sign = [1.0, -1.0] * 5
    s = a * plain_horner([sign[i] * (1.0 / math.factorial(2 * i + 1)) for i in range(9)], a * a)
    c = plain_horner([sign[i] * (1.0 / math.factorial(2 * i)) for i in range(10)], a * a)
    return [(c, s), (-s, c), (-c, -s), (s, -c)][turned // 2**30]


def plain_element(seed: int, index: int) -> float:
    block, place = divmod(index, 4)
    w = plain_philox([block % 2**32, block // 2**32, 0, 0], [seed % 2**32, seed // 2**32])
    pair = w[:2] if place < 2 else w[2:]
    return math.sqrt(-2 * plain_log(pair[0])) * plain_cos_sin(pair[1])[place % 2]


@given(seed=SEEDS, index=st.integers(0, 4 * (2**40)))
def test_every_element_equals_the_docstring_in_plain_python(seed: int, index: int) -> None:
    found = normals(seed, index // 4, 1)[0, index % 4]
    assert found.tobytes() == np.float32(plain_element(seed, index)).tobytes()


def test_elements_are_in_row_major_order() -> None:
    flat = initial_latents(7, SHAPE).ravel()
    for index in (0, 1, 2, 3, 4, 100, 1535):
        assert flat[index] == np.float32(plain_element(7, index))


def test_the_published_size_keeps_its_bits() -> None:
    latents = initial_latents(0, (1, 4, 128, 128))
    assert [f"{bits:08x}" for bits in latents.ravel()[:8].view(np.uint32)] == [
        "3f7dbb33", "bf6cb6b0", "bf1e1b9f", "bef6d1b2", "be1d5357", "3e392a6d", "3f54ec98", "3e4a2da3",
    ]  # fmt: skip
    assert (
        hashlib.sha256(latents.astype("<f4").tobytes()).hexdigest()
        == "0cc0a055ad8bf1cb624684b930eb705c95759ba0d0a6eef43168e6df6fc5a743"
    )


EDGE_WORDS = [0, 1, 2**29 - 1, 2**29, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 3 * 2**30, 2**32 - 2**29, 2**32 - 1]


@given(drawn=hnp.arrays(np.uint64, 64, elements=st.integers(0, 2**32 - 1)))
def test_polynomials_equal_the_true_functions_to_float64_rounding(drawn: np.ndarray) -> None:
    both = np.concatenate([drawn, np.array(EDGE_WORDS, np.uint64)])
    uniform = (both.astype(np.float64) + 0.5) / 2**32
    np.testing.assert_allclose(log_of_uniform(both), np.log(uniform), rtol=1e-15)
    turn = 2 * np.pi * uniform
    np.testing.assert_allclose(cos_sin_of_turn(both), np.stack([np.cos(turn), np.sin(turn)], -1), atol=1.5e-15)


@given(drawn=hnp.arrays(np.uint64, 64, elements=st.integers(0, 2**32 - 1)))
def test_polynomials_equal_the_docstring_in_plain_python_bit_for_bit(drawn: np.ndarray) -> None:
    both = np.concatenate([drawn, np.array(EDGE_WORDS, np.uint64)])
    assert log_of_uniform(both).tolist() == [plain_log(int(word)) for word in both]
    assert cos_sin_of_turn(both).tolist() == [list(plain_cos_sin(int(word))) for word in both]


@given(seed=SEEDS, cuts=st.lists(st.integers(0, 60), max_size=5))
def test_any_cut_gives_the_same_blocks(seed: int, cuts: list[int]) -> None:
    edges = sorted([0, 61, *cuts])
    pieces = [normals(seed, a, b - a) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(pieces), normals(seed, 0, 61))


@given(seed=SEEDS, count=st.integers(0, 200))
def test_a_longer_tensor_starts_with_the_shorter_one(seed: int, count: int) -> None:
    np.testing.assert_array_equal(initial_latents(seed, (200,))[:count], initial_latents(seed, (count,)))


@given(seed=SEEDS, other=SEEDS)
def test_different_seeds_give_different_noise(seed: int, other: int) -> None:
    assert (initial_latents(seed, SHAPE) == initial_latents(other, SHAPE)).all() == (seed == other)


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1])
def test_noise_is_standard_normal(seed: int) -> None:
    noise = initial_latents(seed, (1, 4, 256, 256)).astype(np.float64).ravel()
    spread = 1 / math.sqrt(noise.size)
    assert abs(noise.mean()) < 4 * spread
    assert abs(noise.std() - 1) < 4 * spread / math.sqrt(2)
    assert abs((noise**3).mean()) < 4 * spread * math.sqrt(15)
    assert abs((noise**4).mean() - 3) < 4 * spread * math.sqrt(96)
    levels = np.linspace(-3, 3, 25)
    expected = np.array([0.5 * (1 + math.erf(level / math.sqrt(2))) for level in levels])
    found = np.searchsorted(np.sort(noise), levels) / noise.size
    assert np.abs(found - expected).max() < 2 * spread
    for lag in (1, 2, 3, 4, 256):
        assert abs((noise[lag:] * noise[:-lag]).mean()) < 4 * spread


def test_noise_is_float32_of_the_asked_shape() -> None:
    noise = initial_latents(3, SHAPE)
    assert noise.dtype == np.float32 and noise.shape == SHAPE and noise.flags.c_contiguous


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, True, "0", None])
def test_seeds_outside_64_bits_are_refused(seed: object) -> None:
    with pytest.raises(ConfigError, match=r"seed: found .* 0 to 18446744073709551615"):
        initial_latents(seed, SHAPE)  # type: ignore[arg-type]


def test_a_negative_side_is_refused() -> None:
    with pytest.raises(ConfigError, match="negative"):
        initial_latents(0, (1, -4))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8"])
def test_latents_of_any_float_width_are_read(tmp_path: Path, dtype: str) -> None:
    wanted = initial_latents(1, SHAPE).astype(dtype)
    np.save(tmp_path / "x.npy", wanted)
    found = load_latents(tmp_path / "x.npy", SHAPE)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted.astype(np.float32))


def test_latents_in_column_order_are_read(tmp_path: Path) -> None:
    wanted = np.asfortranarray(initial_latents(1, SHAPE))
    np.save(tmp_path / "x.npy", wanted)
    found = load_latents(tmp_path / "x.npy", SHAPE)
    assert found.flags.c_contiguous and found.flags.writeable
    np.testing.assert_array_equal(found, wanted)


BAD_ARRAYS = {
    "whole numbers": (np.zeros(SHAPE, np.int32), "found dtype int32"),
    "complex": (np.zeros(SHAPE, np.complex64), "found dtype complex64"),
    "long double": (np.zeros(SHAPE, np.longdouble), "found dtype"),
    "other shape": (np.zeros((1, 4, 16, 16), np.float32), r"found shape \(1, 4, 16, 16\).*needs \(1, 4, 16, 24\)"),
    "no batch": (np.zeros(SHAPE[1:], np.float32), "found shape"),
    "nan": (np.full(SHAPE, np.nan, np.float32), "NaN"),
    "infinity": (np.full(SHAPE, np.inf, np.float16), "infinity"),
    "too large": (np.full(SHAPE, 1e300, np.float64), "beyond float32"),
}


@pytest.mark.parametrize(("array", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_unusable_latents_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ConfigError, match=message):
        load_latents(tmp_path / "x.npy", SHAPE)


def test_pickled_latents_are_refused_without_being_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    np.save(tmp_path / "x.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(ConfigError, match=r"not a usable \.npy"):
        load_latents(tmp_path / "x.npy", SHAPE)
    assert not (tmp_path / "sprung").exists()


def test_an_archive_of_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros(SHAPE, np.float32))
    with pytest.raises(ConfigError, match=r"not a usable \.npy"):
        load_latents(tmp_path / "x.npz", SHAPE)


def test_missing_latents_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.npy", tmp_path):
        with pytest.raises(ConfigError, match="no such file"):
            load_latents(path, SHAPE)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("latents") / "good.npy"
    np.save(path, initial_latents(1, SHAPE))
    return path


@given(cut=st.integers(0, 6271))
def test_any_truncation_is_refused(saved: Path, cut: int) -> None:
    whole = saved.read_bytes()
    assert len(whole) == 6272
    broken = saved.with_name("cut.npy")
    broken.write_bytes(whole[:cut])
    with pytest.raises(ConfigError):
        load_latents(broken, SHAPE)


@given(edits=st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_header_is_read_as_it_was_or_refused(saved: Path, edits: list[tuple[int, int]]) -> None:
    data = bytearray(saved.read_bytes())
    for at, value in edits:
        data[at] = value
    broken = saved.with_name("header.npy")
    broken.write_bytes(bytes(data))
    try:
        found = load_latents(broken, SHAPE)
    except ConfigError:
        return
    assert found.dtype == np.float32 and found.shape == SHAPE and np.isfinite(found).all()
