"""What one picture takes on a chip, stage by stage: a bundle's own programs, or its networks as if compiled."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dreamlite_mobile.bundle_checks import geometry
from dreamlite_mobile.bundle_schema import Manifest
from dreamlite_mobile.components import FORWARD, TWO_METHODS, Size, component_specs, size_suffix, sized_method
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.latency.networks import method_work, untiled
from dreamlite_mobile.latency.rates import EXTRAPOLATED, PRECISIONS, Part, Predicted, Rates, check_precision, predict
from dreamlite_mobile.latency.work import Work
from dreamlite_mobile.networks.form import form_of
from dreamlite_mobile.pipeline import STAGES

UNET = "unet"
SECOND_MS = 1000.0


@dataclass(frozen=True, slots=True)
class Call:
    """One kind of call in a picture. `traffic`: bytes that the compiler counted; None: traced."""

    component: str
    times: int
    precision: str
    work: Work
    traffic: float | None = None
    programs: int = 1


@dataclass(frozen=True, slots=True)
class Stage:
    """A call and what it is predicted to take."""

    call: Call
    each: Predicted

    @property
    def name(self) -> str:
        return self.call.component if self.call.times == 1 else f"{self.call.component} x {self.call.times}"

    @property
    def ms(self) -> float:
        return self.call.times * self.each.ms


@dataclass(frozen=True, slots=True)
class Estimate:
    """One picture. `low`, `high`: milliseconds that hold four of five networks that were left out of the fit, or all
    of them where the precision itself is extrapolated."""

    mode: str
    soc: str
    stages: tuple[Stage, ...]
    low: float
    high: float

    @property
    def ms(self) -> float:
        return sum(stage.ms for stage in self.stages)

    @property
    def extrapolated(self) -> bool:
        return any(stage.call.precision in EXTRAPOLATED for stage in self.stages)

    @property
    def parts(self) -> Mapping[Part, float]:
        """Milliseconds of the whole picture by part."""
        found: defaultdict[Part, float] = defaultdict(float)
        for stage in self.stages:
            for part, ms in stage.each.parts.items():
                found[part] += stage.call.times * ms
        return found

    def as_json(self) -> dict[str, Any]:
        """For `--json`: times in milliseconds, shares of one second."""
        return {
            "mode": self.mode,
            "ms": round(self.ms, 2),
            "low_ms": round(self.low, 2),
            "high_ms": round(self.high, 2),
            "share_of_second": round(self.ms / SECOND_MS, 4),
            "extrapolated": self.extrapolated,
            "parts": {part: round(ms, 2) for part, ms in self.parts.items()},
            "stages": [stage_json(stage) for stage in self.stages],
        }


def stage_json(stage: Stage) -> dict[str, Any]:
    call = stage.call
    return {
        "component": call.component,
        "calls": call.times,
        "precision": call.precision,
        "ms": round(stage.ms, 2),
        "share_of_second": round(stage.ms / SECOND_MS, 4),
        "macs": call.work.macs,
        "bytes": round(stage.each.bytes),
        "bytes_from": "traced" if call.traffic is None else "compiler",
        "bound_by_memory": stage.each.bound,
        "parts": {part: round(call.times * ms, 2) for part, ms in stage.each.parts.items()},
    }


def add_up(rates: Rates, soc: str, mode: str, calls: Sequence[Call]) -> Estimate:
    """The stages of a picture with their interval. Errors of the stages are taken to go the same way."""
    stages = tuple(
        Stage(call, predict(rates, soc, call.work, call.precision, call.traffic, call.programs)) for call in calls
    )
    whole, spread = sum(stage.ms for stage in stages), rates.spread
    if any(call.precision in EXTRAPOLATED for call in calls):
        return Estimate(mode, soc, stages, whole * spread.least, whole * spread.most)
    return Estimate(mode, soc, stages, whole * spread.low, whole * spread.high)


def check_bundle(manifest: Manifest, modes: Sequence[str], precision: str | None) -> None:
    """Refuse (ConfigError) what cannot be estimated, before anything is counted."""
    if precision is not None:
        check_precision(precision)
    elif manifest.backend != "qnn":
        raise ConfigError(
            f"a bundle for {manifest.target} ({manifest.backend}): the rates are of Snapdragon's HTP only. Name a "
            f"precision ({', '.join(PRECISIONS)}) with --precision to estimate its networks as if compiled for that."
        )
    for mode in modes:
        if mode not in manifest.modes:
            raise ConfigError(f"mode {mode!r}: the bundle is for {', '.join(manifest.modes)} only")
        missing = [name for name in component_specs(geometry(manifest), [mode]) if name not in manifest.components]
        if missing:
            raise ConfigError(f"{mode} needs {', '.join(missing)}, which the bundle does not hold")
        for name in component_specs(geometry(manifest), [mode]):
            found = manifest.components[name].precision
            if precision is None and found not in PRECISIONS:
                raise ConfigError(
                    f"{name} is {found}, of which no rates are known. Name one of {', '.join(PRECISIONS)} with "
                    "--precision."
                )


def calls_of(
    manifest: Manifest,
    mode: str,
    steps: int,
    precision: str | None,
    tell: Callable[[str], None] = lambda _: None,
    size: Size | None = None,
) -> list[Call]:
    """Every call that a picture of a checked bundle makes, in order.

    Args:
        precision: None for each component's own; another one than it has makes the compiler's bytes worthless.
        size: one of the bundle's; None for the first.
    """
    first = manifest.size.sides
    shapes, suffix = geometry(manifest, size or first), size_suffix(size or first, first)
    needed = component_specs(shapes, [mode])
    calls = []
    for name in (one for one in STAGES if one in needed):
        tell(f"counting {name}")
        method = mode if name in TWO_METHODS else FORWARD
        part = manifest.components[name]
        entry, wanted = part.methods[sized_method(name, method, suffix)], precision or part.precision
        counted = entry.traffic if manifest.backend == "qnn" and wanted == part.precision else None
        form = form_of("qnn", wanted)
        calls.append(
            Call(
                name,
                steps if name == UNET else 1,
                wanted,
                method_work(shapes, name, method, form if counted is None else untiled(form)),
                None if counted is None else float(counted.moved_bytes),
                1 + len(entry.then) if counted is not None else 1,
            )
        )
    return calls
