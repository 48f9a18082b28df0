"""A report as one page without outside references: stage bars, distributions, flags, the phone."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from dreamlite_mobile.device.bench import Drawn
from dreamlite_mobile.device.report import BenchReport, Case
from dreamlite_mobile.device.stages import OWN_WORK, UNET
from dreamlite_mobile.device.table import SUMMARY_COLUMNS, flag_kinds, flags_by_name, psnr_text, summary_row
from dreamlite_mobile.files import write_atomic
from dreamlite_mobile.parity.chart import Chart, Mark, Series
from dreamlite_mobile.parity.page_parts import badge, bullets, cells, charts, facts, megabytes, section, table
from dreamlite_mobile.parity.page_pictures import Picture, PictureGroup, picture_group
from dreamlite_mobile.parity.page_style import CSS
from dreamlite_mobile.pipeline import LOADING

_STRIP_WIDTH, _STRIP_HEIGHT, _LEFT, _RIGHT = 1220, 34, 8, 8
_COLOURS = ("text_encoder", UNET, "vae_decoder", "vision_encoder", "vae_encoder", OWN_WORK, LOADING)
MORE_CSS = """
.stages { display: flex; height: 30px; border-radius: 6px; overflow: hidden; margin: 10px 0; }
.stages i { display: block; min-width: 1px; }
i.s0 { background: var(--s0); } i.s1 { background: var(--s1); } i.s2 { background: var(--s2); }
i.s3 { background: var(--s3); } i.s4 { background: var(--s4); } i.s5 { background: var(--s5); }
i.s6 { background: var(--ink); }
i.b { opacity: 0.72; }
.strip circle { fill: var(--s0); opacity: 0.55; } .strip circle.first { fill: var(--s1); opacity: 0.9; }
.strip line { stroke: var(--bad); stroke-width: 1.3; stroke-dasharray: 5 4; }
.strip line.median { stroke: var(--ink); stroke-dasharray: none; }
.card h3 { margin-top: 10px; }
"""


def write_bench_page(
    path: Path, report: BenchReport, problems: tuple[str, ...], command: str, drawn: Sequence[Drawn] = ()
) -> None:
    """Write the page whole or not at all; OutputError when the place cannot be written."""
    write_atomic(path, render(report, problems, command, drawn).encode())


def render(report: BenchReport, problems: tuple[str, ...], command: str, drawn: Sequence[Drawn] = ()) -> str:
    """The document; every text in it is escaped. `problems`: what fails; `drawn`: the phone's pictures."""
    sections = [
        header(report, problems),
        section("Cases", case_table(report)),
        section("Pictures", "".join(picture_card(report, one) for one in drawn)),
        section("Components through a runner", component_table(report)),
        section("Where the time goes", "".join(stage_card(case) for case in report.cases)),
        section("Every run", "".join(run_card(case, report.gate_s) for case in report.cases)),
        section(
            "Flags",
            bullets(all_flags(report)),
        ),
        section("Phone", facts(phone_facts(report))),
        section("Versions", facts(tuple(report.host_tools.items()))),
        section("Repeat it", f"<pre>{escape(command)}</pre>" if command else ""),
    ]
    title = f"DreamLite on {report.phone.title}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}{MORE_CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, sections))
        + "\n</main>\n</body>\n</html>\n"
    )


def header(report: BenchReport, problems: tuple[str, ...]) -> str:
    """Title, verdict, what was measured."""
    verdict = badge(
        not problems, "; ".join(problems) if problems else "every picture right, every median within the limit"
    )
    if report.gate_s is None and not problems:
        verdict = badge(True, "every picture right; no limit was set")
    emulated = " An emulated phone: these are the times of the machine that it ran on." if report.phone.emulated else ""
    method = report.method
    processes = "one process" if method.rounds == 1 else f"{method.rounds} processes"
    intro = (
        f"{method.runs} timed runs of each case, dealt over {processes}; {method.warm_up} warm-up runs in each, "
        f"{method.steps} steps, seed {method.seed}.{emulated}"
    )
    bundles = tuple(
        (bundle.name, f"{bundle.backend} {bundle.precision}, {bundle.width}x{bundle.height}, {bundle.sha256[:12]}")
        for bundle in report.bundles
    )
    gate = () if report.gate_s is None else (("limit", f"{report.gate_s:g} s"),)
    return (
        f'<header>\n<h1>DreamLite on {escape(report.phone.title)}</h1>\n<p class="intro">{escape(intro)}</p>\n'
        f"{verdict}\n{facts((('measured', report.created), *gate, *bundles))}\n</header>"
    )


def case_table(report: BenchReport) -> str:
    """One line a case."""
    body = "".join(
        f"<tr{' class=failed' if failed(case, report.gate_s) else ''}>{cells(row[:2], row[2:8])}{cells(row[8:])}</tr>\n"
        for case, row in ((case, summary_row(case)) for case in report.cases)
    )
    return table(SUMMARY_COLUMNS, set(SUMMARY_COLUMNS[2:8]), body) if body else ""


def picture_card(report: BenchReport, one: Drawn) -> str:
    """The phone's picture beside the host's, with the verdict."""
    case = next(case for case in report.cases if (case.bundle, case.mode) == (one.bundle, one.mode))
    text = report.method.prompt if one.mode == "generate" else report.method.instruction
    verdict = case.correctness
    shown = [Picture("the phone", one.found, "not compared" if verdict is None else psnr_text(verdict))]
    if one.expected is not None and verdict is not None:
        shown.append(Picture("this machine", one.expected, verdict.reference))
    return picture_group(PictureGroup(f"{one.bundle}, {one.mode}", f"{text} (seed {report.method.seed})", tuple(shown)))


def all_flags(report: BenchReport) -> list[str]:
    """Of every case and component."""
    return [f"{name}: {flag.text}" for name, flags in flags_by_name(report) for flag in flags]


def failed(case: Case, gate_s: float | None) -> bool:
    """A wrong picture or a passed limit."""
    wrong = case.correctness is not None and not case.correctness.passed
    return wrong or (gate_s is not None and case.warm.median > 1000 * gate_s)


def component_table(report: BenchReport) -> str:
    """One line a method."""
    body = "".join(
        f"<tr{' class=failed' if case.passed is False else ''}>"
        + cells(
            (case.bundle, f"{case.component}.{case.method}", case.runner),
            (
                f"{case.warm.median:.2f}",
                f"{case.warm.p90:.2f}",
                f"{case.warm.minimum:.2f}",
                f"{case.first_ms:.2f}",
                "" if case.snr_db is None else f"{case.snr_db:.1f}",
            ),
        )
        + cells((flag_kinds(case),))
        + "</tr>\n"
        for case in report.components
    )
    numbers = ("median ms", "p90", "min", "first ms", "SNR dB")
    return table(("bundle", "method", "runner", *numbers, "flags"), set(numbers), body) if body else ""


def stage_card(case: Case) -> str:
    """A bar of stages, and the same as a table. Medians do not add up exactly; the bar is full all the same."""
    colours = stage_colours(case)
    whole = sum(stage.share for stage in case.stages)
    bar = "".join(
        f'<i class="{colours[stage.name]}" style="width:{100 * stage.share / whole:.2f}%" '
        f'title="{escape(stage.name)}: {stage.ms:.1f} ms"></i>'
        for stage in case.stages
    )
    key = "".join(f'<span><i class="{colours[stage.name]}"></i>{escape(stage.name)}</span>' for stage in case.stages)
    body = "".join(
        f"<tr>{cells((stage.name,), (f'{stage.ms:.1f} ms', f'{stage.share:.1%}'))}</tr>\n" for stage in case.stages
    )
    loads = "".join(f"<tr>{cells((f'load {stage.name}',), (f'{stage.ms:.1f} ms', ''))}</tr>\n" for stage in case.load)
    numbers = ("median", "share of a warm run")
    peak = "" if case.peak_pss_bytes is None else f", at most {megabytes(case.peak_pss_bytes)}"
    return (
        f'<div class="card"><h3>{escape(case.bundle)}, {escape(case.mode)}</h3>'
        f'<p class="soft">{case.warm.median:.1f} ms warm, {case.cold.median:.1f} ms cold{peak}</p>'
        f'<div class="stages">{bar}</div><p class="legend">{key}</p>'
        f"{table(('stage', *numbers), set(numbers), body + loads)}</div>\n"
    )


def stage_colours(case: Case) -> dict[str, str]:
    """A colour for each component, the same in every case; the steps of the U-Net share one, every other paler."""
    found: dict[str, str] = {}
    for stage in case.stages:
        kind, _, step = stage.name.partition(" step ")
        paler = " b" if step and int(step) % 2 == 0 else ""
        found[stage.name] = f"s{_COLOURS.index(kind)}{paler}"
    return found


def run_card(case: Case, gate_s: float | None) -> str:
    """Each run in its order as a chart, their distribution as a strip, minutes of a sustained run."""
    taken = tuple(case.warm_ms)
    marks = (Mark("limit", 1000 * gate_s),) if gate_s is not None and 1000 * gate_s < 3 * max(taken) else ()
    positions = tuple(str(index) for index in range(1, len(taken) + 1))
    drawn = [
        Chart(
            "in the order they ran",
            "milliseconds",
            "run",
            positions,
            (Series("warm", taken),),
            marks,
            wide=len(taken) > 24,
        )
    ]
    if len(case.rounds) > 1:
        drawn.append(
            Chart(
                "process by process",
                "milliseconds",
                "process",
                tuple(str(index) for index in range(1, len(case.rounds) + 1)),
                (Series("warm median", tuple(case.warm_rounds)), Series("cold start", tuple(case.cold_ms))),
            )
        )
    if case.sustained:
        minutes = tuple(f"{index}" for index in range(1, len(case.sustained) + 1))
        drawn.append(
            Chart("minute by minute", "median milliseconds", "minute", minutes, (Series("warm", case.sustained),))
        )
    return (
        f'<div class="card"><h3>{escape(case.bundle)}, {escape(case.mode)}</h3><p class="soft">each dot a run: warm '
        f"blue, first orange; the line is the warm median</p>{strip(case, gate_s)}{charts(drawn)}</div>\n"
    )


def strip(case: Case, gate_s: float | None) -> str:
    """Every warm and first run along one axis that begins at zero."""
    first = [one.result.samples[0].total_ms for one in case.rounds]
    limit = [] if gate_s is None else [1000 * gate_s]
    top = 1.05 * max([*case.warm_ms, *first, *(ms for ms in limit if ms < 3 * max(case.warm_ms))])
    middle, bottom = _STRIP_HEIGHT / 2, _STRIP_HEIGHT + 14

    def place(ms: float) -> float:
        return _LEFT + (_STRIP_WIDTH - _LEFT - _RIGHT) * ms / top

    median = place(case.warm.median)
    dots = [
        f'<circle cx="{place(ms):.1f}" cy="{middle}" r="4"><title>{ms:.1f} ms</title></circle>' for ms in case.warm_ms
    ]
    dots += [
        f'<circle class="first" cx="{place(ms):.1f}" cy="{middle}" r="4"><title>first: {ms:.1f} ms</title></circle>'
        for ms in first
    ]
    lines = [f'<line class="median" x1="{median:.1f}" x2="{median:.1f}" y1="2" y2="{_STRIP_HEIGHT - 2}"/>']
    lines += [
        f'<line x1="{place(ms):.1f}" x2="{place(ms):.1f}" y1="0" y2="{_STRIP_HEIGHT}"/>' for ms in limit if ms <= top
    ]
    right = _STRIP_WIDTH - _RIGHT
    ends = f'<text x="{_LEFT}" y="{bottom}">0 ms</text><text class="side" x="{right}" y="{bottom}">{top:.0f} ms</text>'
    return (
        f'<svg class="strip" viewBox="0 0 {_STRIP_WIDTH} {bottom + 4}" role="img" aria-label="distribution of runs">'
        f"{''.join(dots)}{''.join(lines)}{ends}</svg>"
    )


def phone_facts(report: BenchReport) -> tuple[tuple[str, str], ...]:
    """What the phone said of itself."""
    phone = report.phone
    found = [
        ("model", phone.model),
        ("chip", f"{phone.soc or 'unknown'} ({phone.soc_from or 'not stated'})"),
        ("Android", f"{phone.android} (API {phone.sdk})"),
        ("build", phone.fingerprint),
        ("ABI", ", ".join(phone.abis)),
        ("memory", "unknown" if phone.ram_bytes is None else megabytes(phone.ram_bytes)),
        ("free storage", megabytes(phone.free_bytes)),
        ("battery at the start", battery(report)),
        ("governors", ", ".join(f"{name} {value}" for name, value in phone.governors.items()) or "not readable"),
        ("temperatures", ", ".join(f"{zone.name} {zone.celsius:g} C" for zone in phone.zones) or "not readable"),
    ]
    if report.app is not None:
        versions = {"app": report.app.app, "executorch": report.app.executorch, "QNN": report.app.qnn}
        found += [(f"{name} on the phone", text) for name, text in versions.items() if text]
    return tuple(found)


def battery(report: BenchReport) -> str:
    """Before the first process: level, temperature, cable."""
    looks = [one.before for case in report.cases for one in case.rounds]
    looks += [one.before for part in report.components for one in part.rounds]
    if not looks:
        return "unknown"
    seen = looks[0]
    found = seen.conditions
    level = None if found.battery_percent is None else f"{found.battery_percent} %"
    heat = None if found.battery_celsius is None else f"{found.battery_celsius:g} C"
    cable = "charging" if found.charging else "on a cable" if seen.powered else None
    return ", ".join(filter(None, (level, heat, cable))) or "unknown"
