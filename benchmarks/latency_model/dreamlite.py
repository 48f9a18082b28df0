"""dreamlite.md: DreamLite-mobile at 1024 x 1024 on a Xiaomi 14's chip, and what would bring it under one second."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from benchmarks.latency_model.counts import FOLDER, read_works
from benchmarks.latency_model.document import digits, grid
from benchmarks.latency_model.fit import REFERENCE
from benchmarks.latency_model.results import rates_without, read_rates
from dreamlite_mobile.components import Geometry
from dreamlite_mobile.config import MOBILE
from dreamlite_mobile.latency.networks import method_work
from dreamlite_mobile.latency.picture import SECOND_MS, UNET, Call, Estimate, add_up
from dreamlite_mobile.latency.rates import KEPT_BYTES, PRECISIONS
from dreamlite_mobile.latency.work import Work
from dreamlite_mobile.networks.form import HTP, HTP_INTEGERS, form_of
from export.targets import CONTEXT_LIMIT_KB

DOCUMENT = FOLDER / "dreamlite.md"
WORKS_OF_DREAMLITE = FOLDER / "dreamlite_works.json"
TRAFFIC = FOLDER.parent / "results" / "htp_traffic.json"
STAGES = ("down0", "down1", "down2", "up0", "up1", "up2")
"""Of a U-Net step, as `benchmarks/htp_traffic.py` calls them."""
STEPS, STATES, SHORT, DROPPED = 4, 200, 64, 34
SIDE, SMALLER = 1024, (768, 512)
TEXT, DECODER = "text_encoder", "vae_decoder"
VARIANTS: Mapping[str, Mapping[str, str]] = {
    "fp16": {TEXT: "fp16", UNET: "fp16", DECODER: "fp16"},
    "w8a16": {TEXT: "w8a16", UNET: "w8a16", DECODER: "w8a16"},
    "w8a8mix": {TEXT: "w4a16", UNET: "w8a8mix", DECODER: "w8a8mix"},
}
"""Precision of each component. The text tower of the last one is what language models are published in."""


def shapes(side: int, states: int = STATES) -> Geometry:
    return Geometry(MOBILE, side, side, DROPPED, 0, states, 0)


def count_dreamlite() -> dict[str, Work]:
    """Everything the document needs, in each form; minutes."""
    wanted = {
        f"{TEXT} {SIDE}": (shapes(SIDE), TEXT, "generate"),
        f"{TEXT} short": (shapes(SIDE, SHORT), TEXT, "generate"),
    }
    for side in (SIDE, *SMALLER):
        wanted[f"{UNET} {side}"] = (shapes(side), UNET, "generate")
        wanted[f"{DECODER} {side}"] = (shapes(side), DECODER, "forward")
    return {
        f"{name} {form.name}": method_work(*what, form) for form in (HTP, HTP_INTEGERS) for name, what in wanted.items()
    }


def kept(name: str, precision: str) -> Work:
    """The kept count of a network, in the form that it has in a precision."""
    return read_works(WORKS_OF_DREAMLITE)[f"{name} {form_of('qnn', precision).name}"]


@dataclass(frozen=True, slots=True)
class Compiled:
    """Bytes that the compiler counts for one U-Net step in fp16, and in how many programs."""

    read: float
    written: float
    stages: int

    @property
    def total(self) -> float:
        return self.read + self.written


def compiled() -> Compiled:
    """What `python -m benchmarks.htp_traffic stages` has counted; KeyError for a stage that it has not."""
    counted = json.loads(TRAFFIC.read_text())[f"{REFERENCE} fp16 S={STATES}"]
    stages = [counted[name] for name in STAGES]
    return Compiled(sum(one["read_bytes"] for one in stages), sum(one["written_bytes"] for one in stages), len(stages))


def traffic(work: Work, precision: str) -> float:
    """A step's bytes in a precision, from those of fp16: weights and activations shrink with their numbers."""
    row, fp16 = PRECISIONS[precision], PRECISIONS["fp16"]
    moved = compiled().total - work.weights * fp16.weight_bytes
    return work.weights * row.weight_bytes + moved * row.activation_bytes / fp16.activation_bytes


def calls(variant: str, side: int = SIDE, steps: int = STEPS, text: str = f"{TEXT} {SIDE}") -> list[Call]:
    """A picture of a variant. The compiler's bytes are known at the full size only."""
    chosen = VARIANTS[variant]
    unet, tower = kept(f"{UNET} {side}", chosen[UNET]), kept(text, chosen[TEXT])
    counted = traffic(unet, chosen[UNET]) if side == SIDE else None
    shards = 1 + int(tower.weights * PRECISIONS[chosen[TEXT]].weight_bytes / 1024 // CONTEXT_LIMIT_KB)
    return [
        Call(TEXT, 1, chosen[TEXT], tower, programs=shards),
        Call(UNET, steps, chosen[UNET], unet, counted, compiled().stages),
        Call(DECODER, 1, chosen[DECODER], kept(f"{DECODER} {side}", chosen[DECODER])),
    ]


def estimate(variant: str, soc: str = REFERENCE, **changes: object) -> Estimate:
    return add_up(read_rates(), soc, "generate", calls(variant, **changes))  # type: ignore[arg-type]


def stage_rows() -> Iterator[list[str]]:
    """Every stage of every variant."""
    for variant in VARIANTS:
        found = estimate(variant)
        for stage in found.stages:
            yield [
                variant, stage.name, stage.call.precision, f"{stage.call.work.macs / 1e9:,.0f}",
                f"{stage.each.bytes / 1e9:.2f}", "traced" if stage.call.traffic is None else "compiler",
                digits(stage.each.ms), digits(stage.ms), f"{stage.ms / SECOND_MS:.0%}",
                "memory" if stage.each.bound else "",
            ]  # fmt: skip
        yield [variant, "**total**", "", "", "", "", "", f"**{found.ms:,.0f}**", f"**{found.ms / SECOND_MS:.0%}**", ""]


def part_rows() -> Iterator[list[str]]:
    """Where a step of the U-Net goes."""
    for variant in VARIANTS:
        step = estimate(variant).stages[1].each
        yield [variant, *(f"{ms:,.1f}" for ms in step.parts.values()), f"{step.ms:,.1f}"]


def change_rows() -> Iterator[list[str]]:
    """What each change alone would bring."""
    rates = read_rates()
    plain = {variant: estimate(variant).ms for variant in VARIANTS}
    yield ["as it is", *(f"{ms:,.0f}" for ms in plain.values())]
    for name, changes in (
        (f"prompt of {SHORT} states, not {STATES}, in the text encoder", {"text": f"{TEXT} short"}),
        ("2 steps, not 4", {"steps": 2}),
        *((f"{side} x {side} pixels (bytes traced)", {"side": side}) for side in SMALLER),
    ):
        yield [name, *(f"{estimate(variant, **changes).ms:,.0f}" for variant in VARIANTS)]
    for name, made in (("the text encoder kept from the picture before", without_text), ("half the bytes", half_bytes)):
        yield [name, *(f"{add_up(rates, REFERENCE, 'generate', made(variant)).ms:,.0f}" for variant in VARIANTS)]
    together = [call for call in half_bytes("w8a8mix") if call.component != TEXT]
    short = next(call for call in calls("w8a8mix", text=f"{TEXT} short") if call.component == TEXT)
    both = add_up(rates, REFERENCE, "generate", [short, *together]).ms
    yield ["half the bytes and the short prompt", "", "", f"{both:,.0f}"]
    for soc in rates.chips:
        if soc != REFERENCE:
            yield [f"on {soc}", *(f"{estimate(variant, soc).ms:,.0f}" for variant in VARIANTS)]


def without_text(variant: str) -> list[Call]:
    return [call for call in calls(variant) if call.component != TEXT]


def half_bytes(variant: str) -> list[Call]:
    """Where the compiler has counted them, and half the traced activations elsewhere."""
    return [
        replace(call, traffic=call.traffic / 2)
        if call.traffic is not None
        else replace(call, work=replace(call.work, touched={size: n / 2 for size, n in call.work.touched.items()}))
        for call in calls(variant)
    ]


def budget_rows() -> Iterator[list[str]]:
    """What a step may take so that the picture stays under one second, and what it takes."""
    for variant in VARIANTS:
        found = estimate(variant)
        others = sum(stage.ms for stage in found.stages if stage.call.component != UNET)
        step = found.stages[1]
        left = (SECOND_MS - others) / STEPS
        yield [
            variant, f"{others:,.0f}", f"{left:,.0f}", f"{step.each.ms:,.0f}", f"{step.each.ms / left:.2f}",
            f"{step.call.work.macs / left / 1e9:.1f}", f"{step.call.work.macs / step.each.ms / 1e9:.1f}",
        ]  # fmt: skip


def interval_rows() -> Iterator[list[str]]:
    for variant in VARIANTS:
        found = estimate(variant)
        said = "over" if found.low > SECOND_MS else "under" if found.high < SECOND_MS else "cannot be told"
        what = "least to most of all" if found.extrapolated else "10 % to 90 %"
        owed = {net: add_up(rates, REFERENCE, "generate", calls(variant)).ms for net, rates in rates_without().items()}
        least, most = min(owed, key=owed.__getitem__), max(owed, key=owed.__getitem__)
        yield [
            variant, f"{found.ms:,.0f}", f"{found.low:,.0f} to {found.high:,.0f}", what, said,
            f"{owed[least]:,.0f} (without {least}) to {owed[most]:,.0f} (without {most})",
        ]  # fmt: skip


def dreamlite() -> str:
    """The whole document."""
    counted = compiled()
    unet, tower, decoder = (kept(f"{name} {SIDE}", "fp16") for name in (UNET, TEXT, DECODER))
    traced = unet.traffic(2, 2, KEPT_BYTES)
    weights = 2 * unet.weights
    share = (counted.total - weights) / (traced - weights)
    mix = estimate("w8a8mix")
    parts = estimate("fp16").stages[1].each.parts
    return f"""# DreamLite-mobile at {SIDE} x {SIDE} on {REFERENCE}, predicted

<!-- Written by `python -m benchmarks.latency_model`; change the scripts, not this file. -->

Not measured: no phone was involved. The rates and their errors are those of [`README.md`](README.md). One picture by
prompt: the text encoder over {DROPPED} + {STATES} tokens, {STEPS} steps of the U-Net over {SIDE // 8} x {
        SIDE // 4
    } latents with
{
        STATES
    } prompt states, the decoder. Edits, which also run the vision tower and the encoder, take longer. What is between
the calls, and loading, is not in it.

| | multiply-adds, G | weights, M |
| --- | --- | --- |
| text encoder | {tower.macs / 1e9:,.0f} | {tower.weights / 1e6:,.0f} |
| U-Net, one step | {unet.macs / 1e9:,.0f} | {unet.weights / 1e6:,.0f} |
| decoder | {decoder.macs / 1e9:,.0f} | {decoder.weights / 1e6:.1f} |

Bytes of a U-Net step: QNN's compiler counts {counted.read / 1e9:.2f} GB read and {
        counted.written / 1e9:.2f} GB written in fp16, in
{counted.stages} stages compiled alone ([`htp_traffic.json`](../results/htp_traffic.json)). Tracing gives {
        traced / 1e9:.1f} GB, of which the compiler's are
{share:.2f} once the weights are taken off; the fit, which has not seen this network, expects
{
        read_rates().ms["traced bytes"]
        / read_rates().ms["weight bytes"]:.2f}. In other precisions the compiler's bytes are scaled with
the size of weights and activations, which is arithmetic and not a compilation.

## Stage by stage

{
        grid(
            ["variant", "stage", "precision", "GMAC", "GB", "bytes by", "ms a call", "ms", "of a second", "bound by"],
            stage_rows(),
        )
    }
`w8a8mix`: 8-bit activations in convolutions and linear layers, 16-bit ones in attention, softmax and norms; the text
tower in w4a16.

{
        grid(
            [
                "variant",
                "predicted ms",
                "interval",
                "of left-out networks",
                "one second",
                "had one network been missing",
            ],
            interval_rows(),
        )
    }
## Where a step goes

Milliseconds of one U-Net step.

{grid(["variant", *parts, "together"], part_rows())}
## What one second asks for

What is left for a step once the text encoder and the decoder are paid, against what it is predicted to take.

{
        grid(
            [
                "variant",
                "text encoder and decoder, ms",
                "left for a step, ms",
                "a step takes, ms",
                "times too long",
                "TMAC/s that it needs",
                "TMAC/s that it gets",
            ],
            budget_rows(),
        )
    }
Each change alone, milliseconds of the whole picture:

{grid(["change", *VARIANTS], change_rows())}
{verdict(mix)}
"""


def verdict(mix: Estimate) -> str:
    """What follows, said by the numbers."""
    totals = {variant: estimate(variant).ms for variant in VARIANTS}
    over, within = ([name for name in totals if (totals[name] > SECOND_MS) is late] for late in (True, False))
    lines = []
    if over:
        lines.append(f"Predicted over one second on {REFERENCE}: {', '.join(over)}.")
    if within:
        lines.append(f"Predicted within it: {', '.join(within)}.")
    text, unet, decoder = (stage.ms / mix.ms for stage in mix.stages)
    return "\n".join([
        *lines,
        f"In w8a8mix the U-Net takes {unet:.0%}, the text encoder {text:.0%}, the decoder {decoder:.0%} of the time.",
        "That precision is the one whose rates nobody has published for linear layers: its interval ends at",
        f"{mix.high:,.0f} ms, so only a phone can tell.",
    ])  # fmt: skip
