"""README.md: the table, the fit, its errors, what it cannot know."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.latency_model.collect import SERVED
from benchmarks.latency_model.counts import FOLDER
from benchmarks.latency_model.fit import BUS_SHARE, PULL, REFERENCE, Row, rows_of
from benchmarks.latency_model.nets import NETS
from benchmarks.latency_model.results import read_rates, read_results, table, works
from dreamlite_mobile.latency.rates import KEPT_BYTES, predict

README = FOLDER / "README.md"
UNITS = {"depthwise": "", "softmax": "numbers", "elementwise": "numbers", "weight bytes": "bytes",
         "traced bytes": "bytes", "operators": "operators", "call": "calls"}  # fmt: skip


def grid(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(columns)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def digits(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def rate_rows() -> Iterator[list[str]]:
    """What each rate is in the units that people compare."""
    for name, ms in read_rates().ms.items():
        unit = UNITS.get(name)
        if unit in (None, ""):
            yield [name, f"{digits(ms)} ms per GMAC", f"{digits(1 / ms)} TMAC/s"]
        elif unit == "bytes":
            yield [name, f"{digits(ms)} ms per GB", f"{digits(1000 / ms)} GB/s"]
        elif unit == "numbers":
            yield [name, f"{digits(ms)} ms per 10^9", f"{digits(1000 / ms)} x 10^9 a second"]
        else:
            yield [name, f"{digits(ms)} ms per {'1,000' if unit == 'operators' else 'call'}", ""]


def net_rows() -> Iterator[list[str]]:
    """Every network with its work and its left-out prediction on the reference chip, or the first chip it has."""
    rows, _ = rows_of(table())
    left = {one.row: one for one in read_results()["sum"].left}
    for net, work in works().items():
        for precision in dict.fromkeys(row.precision for row in rows if row.net == net):
            own = [row for row in rows if (row.net, row.precision) == (net, precision)]
            shown = next((row for row in own if row.soc == REFERENCE), own[0])
            found = left[shown]
            yield [
                net, precision, f"{work.macs / 1e9:,.1f}", f"{work.weights / 1e6:,.1f}", shown.soc, digits(shown.ms),
                digits(found.predicted), f"{found.ratio:.2f}", str(len(own)),
            ]  # fmt: skip


def traffic_rows() -> Iterator[list[str]]:
    """The compiler's bytes beside traced ones."""
    found = json.loads((FOLDER / "traffic.json").read_text())["networks"]
    for net, counted in found.items():
        work = works()[net]
        compiled, traced = counted["read"] + counted["written"], work.traffic(2, 2, KEPT_BYTES)
        weights = 2 * work.weights
        spilled = f"{(compiled - weights) / (traced - weights):.2f}" if traced > 2 * weights else "-"
        yield [net, f"{weights / 1e6:,.0f}", f"{traced / 1e6:,.0f}", f"{compiled / 1e6:,.0f}", spilled]


def aside_rows(rows: list[Row]) -> Iterator[list[str]]:
    fp16 = {(row.net, row.soc): row.ms for row in rows_of(table())[0] if row.precision == "fp16"}
    for row in rows:
        if row.soc == REFERENCE:
            yield [row.net, row.precision, digits(row.ms), digits(fp16[row.net, row.soc])]


def otherwise(data: dict[str, Any]) -> str:
    """The same network by two releases of the compiler."""
    used = {(one["net"], one["soc"]): one for one in data["measurements"] if one["precision"] == "w8a16"}
    found = []
    for one in data["compiled_by_another"]:
        if one["soc"] == REFERENCE:
            mine = used[one["net"], one["soc"]]
            found.append(
                f"\n  {one['net']} {digits(mine['ms'])} ms by QNN {version(mine)}, "
                f"{digits(one['ms'])} by {version(one)}"
            )
    return ";".join(found)


def version(one: dict[str, Any]) -> str:
    return ".".join(one["qairt"].split(".")[:2])


def served_rows() -> Iterator[list[str]]:
    """Published prefill beside the prediction for the same call."""
    for one in table()["served"]:
        row = Row(one["net"], one["precision"], one["soc"], one["ms"])
        predicted = predict(read_rates(), row.soc, works()[row.net], row.precision).ms
        speed = one["row"].partition(": ")[2].partition(" ")[0]
        ratio = f"{row.ms / predicted:.2f}"
        yield [row.net, row.soc, speed, digits(row.ms), digits(predicted), ratio]


def served_share(soc: str) -> str:
    """The least and the most that published prefill takes of its prediction."""
    ratios = [float(row[5]) for row in served_rows() if row[1] == soc]
    return f"{min(ratios):.1f} to {max(ratios):.1f}"


def form_rows() -> Iterator[list[str]]:
    """How far off each form of the model is."""
    names = {"sum": f"sum, pull {PULL} (used)", "roofline": f"the longer of arithmetic and memory, pull {PULL}"}
    for name, one in read_results().items():
        quantiles = (f"{one.quantile(share):.2f}" for share in (0, 0.1, 0.5, 0.9, 1))
        yield [names.get(name, name), f"{one.spread:.2f}", *quantiles]


def readme() -> str:
    """The whole document."""
    data, rates = table(), read_rates()
    _, aside = rows_of(data)
    fitted = {one["net"] for one in data["measurements"]}
    shapes = "; ".join(f"{name} {net.shapes}" for name, net in NETS.items() if name in fitted)
    share = rates.ms["traced bytes"] / rates.ms["weight bytes"]
    sources = [[one["net"], one["precision"], one["soc"], one["device"], digits(one["ms"]), one["qairt"] or "-",
                f"[perf.yaml]({one['url']})", one["row"].replace("performance_metrics", "...")]
               for one in data["measurements"] if one["soc"] == REFERENCE]  # fmt: skip
    return f"""# A latency model of the HTP

<!-- Written by `python -m benchmarks.latency_model`; change the scripts, not this file. -->

What a network takes on a Snapdragon's HTP, from its work: `dreamlite estimate BUNDLE --soc {
        REFERENCE
    }`. Nothing here was
measured by this project on a phone. The rates are fitted on {rates.measurements} published measurements of
{rates.networks} networks on {
        len(rates.chips)
    } chips; [`dreamlite.md`](dreamlite.md) is DreamLite-mobile at 1024 x 1024.

```bash
.venv/bin/python -m benchmarks.latency_model              # fit, rates.json, both documents (seconds)
.venv/bin/python -m benchmarks.latency_model --recount    # counts every network again first (minutes)
.venv/bin/python -m benchmarks.latency_model.collect REPOSITORY.git    # the table, from a clone of quic/ai-hub-models
```

## The model

A call's milliseconds on {REFERENCE} are a sum: multiply-adds of convolutions, of linear layers and attention, of
depthwise convolutions, numbers that softmax and elementwise operators write, bytes, operators, and one for the call
itself, each times its rate; another chip multiplies the sum by one factor. Where a compiler has counted the bytes,
{BUS_SHARE:.0%} of the memory bus' peak is a floor under it (60 GB/s were measured on {REFERENCE}: arXiv 2509.23324,
table 2). Work is counted by running each network on tensors without values. Without a compiler's count, activations
larger than {KEPT_BYTES >> 20} MiB are taken to go to memory and back at every operator that touches them; the fit finds
that a byte traced so costs {share:.2f} of a weight's. Traced bytes give no floor: several published networks are
faster than theirs would be, and every error below is of the sum alone. The floor is therefore in no error.

The form asked for was a roofline for each kind of operator. Its error is in the table below as "the longer of
arithmetic and memory": the sum errs less on networks that were left out, so the sum is what is used.

{grid(["rate", "fitted", "as a speed"], rate_rows())}
The speeds are what is left of the chip once everything else is paid. {
        digits(1 / rates.ms["conv fp16"])
    } TMAC/s for fp16
convolutions is close to the 6.02 that the same paper measures for fp16 matrix products. A weight's byte costs less than
the bus allows, since most of its way is hidden behind arithmetic: that is what the floor is for. Softmax,
elementwise operators, depthwise convolutions and the cost of an operator are close to what was guessed: the
measurements say little of them.

{
        grid(
            ["chip", "times as long", "memory peak, GB/s"],
            [[soc, f"{chip.slower:.2f}", f"{chip.memory_gb_s:.1f}"] for soc, chip in rates.chips.items()],
        )
    }
One factor for a chip: computing and memory do not grow alike, so it is a mean. SM8550 was measured on QCS8550, SM8650
and SM8750 on Samsung phones, whose chips may be clocked higher than others', SM8850 and most language models on
Qualcomm's reference devices. Peaks are those of 64-bit LPDDR5X: {
        ", ".join(f"[{one['soc']} at {one['memory_mhz']:,} MHz]({one['source']})" for one in data["chips"])
    }.

## How wrong it is

Every network is predicted by rates fitted without it, without its other precisions and chips too. Measured over
predicted:

{grid(["form", "RMS of the logarithm", "least", "10 %", "median", "90 %", "most"], form_rows())}
The pull draws each parameter to what was expected of it before any measurement (`fit.py`): without one, what few
networks have much of, such as elementwise operators, is decided by a single one of them. It was chosen with these
errors in sight, which flatters them a little.

The interval of an estimate is the prediction times the 10th and the 90th percentile. It holds one network; the stages
of a picture may err in opposite ways, but the interval assumes that they do not. Where a precision itself is
extrapolated (`w8a8` and `w8a8mix`, see below) it is least and most.

{
        grid(
            [
                "network",
                "precision",
                "GMAC",
                "weights, M",
                "chip",
                "measured ms",
                "predicted without it",
                "ratio",
                "chips",
            ],
            net_rows(),
        )
    }
Set aside ({
        len(aside)
    } measurements): quantised networks that are published as slower than the same network in fp16. That
says how they were quantised, not what the chip can do, but it can happen to any bundle: a quantised export that the
compiler could not fuse may take several times the estimate.

{grid(["network", "precision", "ms", "fp16 ms"], aside_rows(aside))}
## Language models by another runtime

Not fitted: what [PowerServe]({SERVED}) publishes of its prefill, which
is a throughput of whole prompts, in calls of 128 tokens against 1,920 before them, without logits. Milliseconds are 128
tokens by that speed; what the runtime does between the calls and the last, part-filled call of a prompt are in them.
Its converter keeps Llama in 4-bit weights throughout and, in most of its settings, layers of Qwen in fp16; which
setting was measured is not said. So the published times should be longer than those of the calls. They are
{served_share(REFERENCE)} times as long on {
        REFERENCE
    }, Llama's too, and longer still on the next chip: a text tower may take that much
more than `dreamlite estimate` says, in a runtime that is not Qualcomm's own.

{grid(["network", "chip", "tokens/s", "published ms", "predicted ms, w4a16", "ratio"], served_rows())}
## Bytes: traced and compiled

Megabytes in fp16 for {REFERENCE}. The compiler's are those of its DDR bandwidth summary
(`python -m benchmarks.latency_model.traffic NET`). The last column is what share of the traced activations it moves;
the fit assumes {share:.2f}. Networks whose activations just fit, or just do not, are traced badly.

{grid(["network", "weights", "traced", "compiled", "share of traced"], traffic_rows())}
## What it cannot know

- Anything of a phone in use: heat, other apps, power modes, a Snapdragon that is not clocked like Samsung's. In what
  state the measured devices were is not published. A Xiaomi 14 may well be slower.
- The work between the calls: tokenizer, scheduler, copies in and out of the app; loading, and unloading between stages.
- How well a graph was compiled. The measured networks were rewritten by Qualcomm for this chip (one product per head,
  1x1 convolutions for linear layers), and two of its compilers differ:{otherwise(data)}.
- 8-bit activations in linear layers: the published vision transformer in w8a8 runs partly on the CPU and was left out.
  `w8a8` gives them the rate of 8-bit convolutions, `w8a8mix` too, with attention and softmax at 16 bits.
- RMSNorm, group norm and GELU in primitives are elementwise numbers like any other.
- 4-bit weights were measured in language models only: 128 tokens against a context of 4,096, first token.
- The text tower of DreamLite is a Qwen3 of 1.4 billion weights. The nearest networks in the fit are Qwen2 and Qwen2.5
  of 7 billion (one configuration, left out together: 28 layers of width 3,584), Llama and Phi; Qwen2.5-1.5B is
  published with fp16 activations beside 4-bit weights, which no rate is of.
- Chips before SM8550: no measurements of whole networks in fp16. `dreamlite estimate` refuses them.

## The measurements on {REFERENCE}

All {
        len(data["measurements"])
    }, of every chip, are in [`measurements.json`](measurements.json), each with its address and
row; Qualcomm published them on {
        data["measurements"][0]["date"]
    } (v0.46.1). Input shapes and configurations are those of
the model folders beside each `perf.yaml`: {shapes}.

{grid(["network", "precision", "chip", "device", "ms", "QAIRT", "source", "row"], sources)}"""
