"""What each precision must reach. A row below its floor raises: parity is a gate, not a remark."""

from collections.abc import Iterable
from dataclasses import dataclass

from dreamlite_mobile.errors import ConfigError, ParityError, unknown_name
from dreamlite_mobile.parity.rows import Row

PICTURE = "picture"
"""The component name of a row that compares the finished pictures (uint8) of the whole pipeline."""


PIPELINE = "pipeline"
"""The component name of a row that compares the final latents of the whole pipeline."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The least a comparison must reach, in dB: SNR of a component's output and of the final latents, which gather the
    errors of every component and step, and PSNR of the finished picture."""

    component_snr_db: float
    latents_snr_db: float
    picture_psnr_db: float


FLOORS = {
    "fp32": Floor(component_snr_db=100.0, latents_snr_db=100.0, picture_psnr_db=50.0),
    # The HTP's own arithmetic, on its emulator (benchmarks/htp.md).
    "fp16": Floor(component_snr_db=48.0, latents_snr_db=48.0, picture_psnr_db=55.0),
    # Integers on the HTP, ranges from calibration runs (benchmarks/htp.md).
    "w8a16": Floor(component_snr_db=35.0, latents_snr_db=33.0, picture_psnr_db=45.0),
    # The text tower's 4-bit weights per channel; 8-bit activations where a layer bears them (benchmarks/htp.md).
    "w4a16": Floor(component_snr_db=22.0, latents_snr_db=25.0, picture_psnr_db=35.0),
    "w8a8mix": Floor(component_snr_db=25.0, latents_snr_db=25.0, picture_psnr_db=35.0),
    # About 3 dB below the worst of the embedded checkpoint (benchmarks/quantisation.md). Its weights are random, which
    # four bits hold worst: every direction of a random weight counts.
    # Whole pictures are of trained weights: flat shapes lose more by a moved edge.
    "w8": Floor(component_snr_db=27.0, latents_snr_db=27.0, picture_psnr_db=35.0),
    # Of trained weights, which reach 35 dB. A U-Net of random ones loses more on its way through and stays below
    # (25.6 dB): made checkpoints are not held to it (benchmarks/coreml.md).
    "p6": Floor(component_snr_db=30.0, latents_snr_db=21.0, picture_psnr_db=30.0),
    # Latents of the third `steer` reach 7.4 dB where a square stands a few pixels elsewhere (README).
    "w4": Floor(component_snr_db=12.0, latents_snr_db=5.0, picture_psnr_db=20.0),
    "p4": Floor(component_snr_db=10.0, latents_snr_db=8.0, picture_psnr_db=22.0),
}
BACKEND_FLOORS = {
    # Core ML rounds after every operator, and its w8 shortens weights only. Components are held to what is asked of
    # them, whole pictures to what trained weights reach, less 3 dB: an edit gathers most (benchmarks/coreml.md).
    ("coreml", "fp16"): Floor(component_snr_db=45.0, latents_snr_db=45.0, picture_psnr_db=55.0),
    ("coreml", "w8"): Floor(component_snr_db=35.0, latents_snr_db=24.0, picture_psnr_db=30.0),
}
"""Where a backend's own arithmetic asks for another floor than its precision's."""
SCORE_LOSS = {"fp32": 0.03, "fp16": 0.02, "w8a16": 0.02, "w4a16": 0.04, "w8a8mix": 0.04, "w8": 0.03, "p6": 0.03}
"""The largest share of pictures that an export may turn wrong; four bits are only told."""
ORDER = tuple(FLOORS)
"""From the closest to the coarsest: a pipeline is as precise as its coarsest component."""


def floor(precision: str, backend: str) -> Floor:
    """The floor of a precision, or the backend's own for it; ConfigError listing the known ones otherwise."""
    if precision not in FLOORS:
        raise ConfigError(unknown_name("precision", precision, FLOORS))
    return BACKEND_FLOORS.get((backend, precision), FLOORS[precision])


def score_loss_limit(precision: str) -> float | None:
    """The largest loss of score that a precision may bring; None where there is no limit."""
    return SCORE_LOSS.get(precision)


def coarsest(precisions: Iterable[str]) -> str:
    """The precision that decides for a pipeline of several components."""
    return max(precisions, key=ORDER.index)


def measured_and_floor(row: Row) -> tuple[str, float, float]:
    """Which metric decides a row, its value and its floor."""
    limits = floor(row.precision, row.backend)
    if row.component == PIPELINE:
        return "SNR", row.metrics.snr_db, limits.latents_snr_db
    if row.component == PICTURE:
        psnr = row.metrics.psnr_db
        if psnr is None:
            raise ConfigError("a picture row needs metrics with a PSNR")
        return "PSNR", psnr, limits.picture_psnr_db
    return "SNR", row.metrics.snr_db, limits.component_snr_db


def complaint(row: Row) -> str | None:
    """What is wrong with a row, or None when it reaches its floor."""
    metric, measured, least = measured_and_floor(row)
    where = f"{row.component}.{row.method} {row.output} ({row.pair}, {row.precision})"
    if row.metrics.defects:
        return f"{where}: {'; '.join(row.metrics.defects)}"
    if not measured >= least:
        return f"{where}: {metric} {measured:.1f} dB, the floor is {least:g} dB (worst at {list(row.metrics.worst)})"
    return None


def check(rows: Iterable[Row]) -> None:
    """Raise ParityError naming every row below its floor: component, method, pair, measured value, floor."""
    complaints = [text for row in rows if (text := complaint(row)) is not None]
    if complaints:
        raise ParityError("parity failed:\n" + "\n".join(f"  {text}" for text in complaints))
