"""Initial noise that is the same on every machine: Philox 4x32-10 and Box-Muller. numpy only.

What another language has to repeat, bit for bit:

1. **Philox 4x32-10** (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
   State: counter words c0..c3 and key words k0, k1, all unsigned 32-bit. Ten rounds; before every round but the first
   k0 += 0x9E3779B9 and k1 += 0xBB67AE85 (mod 2^32). One round, with 64-bit products p = 0xD2511F53 * c0 and
   q = 0xCD9E8D57 * c2:  (c0, c1, c2, c3) = (hi(q) ^ c1 ^ k0, lo(q), hi(p) ^ c3 ^ k1, lo(p)).
2. **Counter and key.** Block b (0, 1, 2, ...) has counter (b mod 2^32, b div 2^32, 0, 0); a seed s in 0...2^64-1 is
   the key (s mod 2^32, s div 2^32). Block b yields the words w0..w3 and becomes the elements 4b...4b+3 of the tensor
   in row-major order; words left over in the last block are dropped.
3. **Words to radius and angle.** Words are paired (w0, w1) and (w2, w3), giving two elements each. The first of a pair
   is the uniform u = (w + 0.5) / 2^32, never 0 or 1; radius r = sqrt(-2 ln u). The second is the angle
   2 pi (w + 0.5) / 2^32. The elements are r * cos(angle), then r * sin(angle), computed in float64 and cast to float32
   (round to nearest, ties to even).
4. **ln, cos, sin** are the polynomials below, in float64, with one rounding per operation written (no fused
   multiply-add, no library function): +, -, *, / and sqrt are exact by IEEE 754, a platform's `log` and `sin` are not.
   Polynomials are evaluated by Horner's rule, highest coefficient first: acc = c[n]; acc = acc * x + c[n-1]; ...

   * ln u, u = m * 2^e with m in [0.5, 1); if m < `SQRT_HALF` then m = 2m and e = e - 1. f = (m - 1) / (m + 1),
     s = f * f, ln u = e * `LN_2` + (f + f) * P(s) with P's coefficients `LOG_TERMS` = 1, 1/3, 1/5, ..., 1/23.
   * angle: quadrant n = ((w + 2^29) mod 2^32) div 2^30; rest d = ((w + 2^29) mod 2^30) - 2^29 as a signed number;
     a = (d + 0.5) * `ANGLE_UNIT` with ANGLE_UNIT = (pi/2) * 2^-30, so |a| <= pi/4; z = a * a;
     S = a * Q(z), coefficients `SIN_TERMS` = 1, -1/3!, 1/5!, ..., 1/17!; C = R(z), `COS_TERMS` = 1, -1/2!, ..., 1/18!
     with alternating signs. (cos, sin) = (C, S), (-S, C), (-C, -S), (S, -C) for n = 0, 1, 2, 3.

   Coefficients are 1.0 divided by the exact integer in float64, then given their sign. The worst error against the true
   functions is 4e-16 relative (measured), far below the float32 that is kept.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from dreamlite_mobile.errors import ConfigError

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
UInt64 = NDArray[np.uint64]

NAME = "philox4x32-10-box-muller"
"""How manifests call this scheme."""
ROUNDS = 10
WORDS_PER_BLOCK = 4
MAX_SEED = 2**64 - 1
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (0x9E3779B9, 0xBB67AE85)

LN_2 = 0.6931471805599453  # 0x3FE62E42FEFA39EF
SQRT_HALF = 0.7071067811865476  # 0x3FE6A09E667F3BCD
ANGLE_UNIT = 1.5707963267948966 * 2.0**-30  # 0x3E1921FB54442D18
LOG_TERMS = tuple(1.0 / n for n in range(1, 24, 2))
SIN_TERMS = tuple((-1.0) ** i * (1.0 / math.factorial(2 * i + 1)) for i in range(9))
COS_TERMS = tuple((-1.0) ** i * (1.0 / math.factorial(2 * i)) for i in range(10))

_LOW = np.uint64(0xFFFFFFFF)
_HALF_WORD = np.uint64(32)


def initial_latents(seed: int, shape: Sequence[int]) -> Float32:
    """Standard normal noise of `shape` for `seed`: float32, row-major, the same bits on every machine.

    A longer tensor starts with the shorter one of the same seed.

    Raises:
        ConfigError: `seed` outside 0...2^64-1, or a shape with a negative side.
    """
    check_seed(seed)
    if any(side < 0 for side in shape):
        raise ConfigError(f"shape {tuple(shape)}: sides must not be negative")
    count = math.prod(shape)
    return normals(seed, 0, -(-count // WORDS_PER_BLOCK)).reshape(-1)[:count].reshape(tuple(shape))


def check_seed(seed: int) -> None:
    """Refuse a seed outside 0...2^64-1 (ConfigError)."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"seed: found {seed!r}; supported are whole numbers from 0 to {MAX_SEED} (2^64 - 1)")


def normals(seed: int, first_block: int, blocks: int) -> Float32:
    """Standard normal float32 [blocks, 4] of the blocks from `first_block` on: any cut gives the same values."""
    index = np.arange(blocks, dtype=np.uint64) + np.uint64(first_block)
    counter = np.zeros((blocks, WORDS_PER_BLOCK), np.uint64)
    counter[:, 0], counter[:, 1] = index & _LOW, index >> _HALF_WORD
    words = philox(counter, (int(seed) & 0xFFFFFFFF, int(seed) >> 32))
    return box_muller(words[:, 0::2], words[:, 1::2]).reshape(blocks, WORDS_PER_BLOCK)


def philox(counter: UInt64, key: tuple[int, int]) -> UInt64:
    """Philox 4x32-10 of 32-bit words held in uint64: counter [n, 4] and a key of two words give words [n, 4]."""
    c0, c1, c2, c3 = (counter[:, i] for i in range(WORDS_PER_BLOCK))
    for done in range(ROUNDS):
        k0, k1 = (np.uint64((word + done * step) & 0xFFFFFFFF) for word, step in zip(key, WEYL, strict=True))
        p, q = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (q >> _HALF_WORD) ^ c1 ^ k0, q & _LOW, (p >> _HALF_WORD) ^ c3 ^ k1, p & _LOW
    return np.stack([c0, c1, c2, c3], axis=1)


def box_muller(radius_words: UInt64, angle_words: UInt64) -> Float32:
    """Words [..., k] for the radii and [..., k] for the angles give normals float32 [..., k, 2] (cosine, sine)."""
    radius = np.sqrt(-2.0 * log_of_uniform(radius_words))
    return (radius[..., None] * cos_sin_of_turn(angle_words)).astype(np.float32)


def log_of_uniform(words: UInt64) -> Float64:
    """ln((w + 0.5) / 2^32) in float64, from exactly rounded operations only."""
    mantissa, exponent = np.frexp((words.astype(np.float64) + 0.5) * 2.0**-32)
    low = mantissa < SQRT_HALF
    mantissa, exponent = np.where(low, 2.0 * mantissa, mantissa), exponent - low
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    return exponent * LN_2 + (ratio + ratio) * _horner(LOG_TERMS, ratio * ratio)


def cos_sin_of_turn(words: UInt64) -> Float64:
    """(cos, sin) of the angle 2 pi (w + 0.5) / 2^32 in float64 [..., 2], from exactly rounded operations only."""
    shifted = (words + np.uint64(2**29)) & _LOW
    rest = (shifted & np.uint64(2**30 - 1)).astype(np.float64) - 2.0**29
    angle = (rest + 0.5) * ANGLE_UNIT
    square = angle * angle
    sine, cosine = angle * _horner(SIN_TERMS, square), _horner(COS_TERMS, square)
    quadrant = (shifted >> np.uint64(30)).astype(np.int64)
    return np.stack(
        [
            np.choose(quadrant, [cosine, -sine, -cosine, sine]),
            np.choose(quadrant, [sine, cosine, -sine, -cosine]),
        ],
        axis=-1,
    )


def _horner(terms: tuple[float, ...], x: Float64) -> Float64:
    total = np.full_like(x, terms[-1])
    for term in reversed(terms[:-1]):
        total = total * x + term
    return total


def load_latents(path: str | Path, shape: Sequence[int]) -> Float32:
    """Read starting latents from an .npy file: float16, float32 or float64 of exactly `shape`, returned as float32.

    Nothing in the file is executed (pickled arrays are refused) and nothing is allocated before the header is checked.

    Raises:
        ConfigError: the file is missing, no .npy file, truncated, or holds another dtype or shape, or NaN or infinity.
    """
    array = _map_npy(Path(path))
    mend = f"save numpy float32 of shape {tuple(shape)} with numpy.save"
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise ConfigError(f"latents {path}: found dtype {array.dtype}; supported: float16, float32, float64; {mend}")
    if array.shape != tuple(shape):
        raise ConfigError(f"latents {path}: found shape {array.shape}; this size needs {tuple(shape)}; {mend}")
    with np.errstate(over="ignore"):
        latents = np.array(array, dtype=np.float32, order="C")
    if not np.isfinite(latents).all():
        raise ConfigError(f"latents {path}: NaN, infinity or values beyond float32 inside; {mend}")
    return latents


def _map_npy(path: Path) -> np.memmap[tuple[int, ...], np.dtype[np.generic]]:
    try:
        if not path.is_file():
            raise ConfigError(f"latents {path}: no such file; give an .npy file written by numpy.save")
        return np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, SyntaxError, TypeError, OverflowError, MemoryError, TokenError) as error:
        raise ConfigError(f"latents {path}: not a usable .npy file ({error}); write it with numpy.save") from error
