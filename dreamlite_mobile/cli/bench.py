"""`dreamlite bench`: a bundle on a phone, timed, judged and compared."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.text import Text
from typer.core import TyperGroup

from dreamlite_mobile.cli.bench_inputs import check_outputs, check_runner, opened_for, picture_of, reference_of
from dreamlite_mobile.cli.bench_options import (
    BenchSizeOption,
    BundlesArgument,
    CheckpointOption,
    CoolDownOption,
    CsvOption,
    GateOption,
    HtmlOption,
    InstructionOption,
    LimitOption,
    ModeOption,
    PictureOption,
    PromptOption,
    RoundsOption,
    RunnerOption,
    RunsOption,
    SaveOption,
    SustainedOption,
    UncheckedOption,
    WarmUpOption,
)
from dreamlite_mobile.cli.bench_output import finish, report_of, show_comparison
from dreamlite_mobile.cli.devices import SerialOption
from dreamlite_mobile.cli.shared import (
    INSTRUCTION,
    PROMPT,
    JsonOption,
    SeedOption,
    StepsOption,
    ThreadsOption,
    names,
    notice,
    quiet_libraries,
    stderr,
)
from dreamlite_mobile.components import MODES, check_names
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.noise import check_seed
from dreamlite_mobile.progress import task
from dreamlite_mobile.scheduler import check_steps

if TYPE_CHECKING:
    from PIL import Image

    from dreamlite_mobile.bundle import Bundle
    from dreamlite_mobile.bundle_fields import Mode
    from dreamlite_mobile.device.bench import Drawn, Reference
    from dreamlite_mobile.device.facts import PhoneFacts
    from dreamlite_mobile.device.link import Link
    from dreamlite_mobile.device.report import BenchReport, Method

_RUN = "run"


class BundleFirst(TyperGroup):
    """`bench BUNDLE` is `bench run BUNDLE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` before whatever does not begin with a command or a plea for help."""
        known = {*self.commands, "--help", "-h"}
        return super().parse_args(ctx, args if not args or args[0] in known else [_RUN, *args])


bench = typer.Typer(
    cls=BundleFirst,
    no_args_is_help=True,
    help="Time bundles on a phone (`bench BUNDLE`), or compare two result files (`bench compare A B`).",
)


@bench.command(_RUN)
def run(
    bundles: BundlesArgument,
    mode: ModeOption = "generate,edit",
    gate: GateOption = None,
    serial: SerialOption = None,
    runs: RunsOption = 10,
    rounds: RoundsOption = 5,
    warm_up: WarmUpOption = 2,
    cool_down: CoolDownOption = 300.0,
    sustained: SustainedOption = None,
    prompt: PromptOption = PROMPT,
    instruction: InstructionOption = INSTRUCTION,
    picture: PictureOption = None,
    seed: SeedOption = 7,
    steps: StepsOption = 4,
    size: BenchSizeOption = None,
    threads: ThreadsOption = None,
    checkpoint: CheckpointOption = None,
    unchecked: UncheckedOption = False,
    runner: RunnerOption = None,
    limit: LimitOption = 900.0,
    html: HtmlOption = None,
    csv: CsvOption = None,
    save: SaveOption = None,
    json_output: JsonOption = False,
) -> None:
    """Push bundles onto a phone, run them there, compare the pictures with the host's, report the times.

    Exits with 3 when a picture is wrong or a median over --gate.

    Example: dreamlite bench bundle --mode generate,edit --gate 1.0
    """
    check_outputs(bundles, html, csv, save)
    modes = cast("tuple[Mode, ...]", names(mode, "--mode") or ())
    check_names("mode", modes, MODES)
    check_runner(runner, gate, checkpoint, picture, sustained)
    check_steps(steps)
    check_seed(seed)
    quiet_libraries()
    from dreamlite_mobile.device.report import Method

    method = Method(
        runs=runs,
        rounds=min(rounds, runs) if sustained is None else 1,
        warm_up=warm_up,
        steps=steps,
        seed=seed,
        prompt=prompt,
        instruction=instruction,
        threads=threads,
        cool_down_s=cool_down,
        sustain_s=None if sustained is None else 60 * sustained,
    )
    opened = opened_for(bundles, modes, method, size)
    source = None if picture is None else picture_of(picture)
    reference = None if unchecked or runner is not None else reference_of(checkpoint, method, source, opened)
    from dreamlite_mobile.device.find import adb_client, find_phone
    from dreamlite_mobile.device.occupied import occupied

    link = find_phone(adb_client(), serial)
    with occupied(link):
        if runner is None:
            report, drawn = bench_app(link, opened, modes, method, source, reference, gate, limit)
        else:
            report, drawn = bench_runner(link, opened, modes, method, runner, limit, unchecked), []
    finish(report, drawn, html, csv, save, json_output)


def push_all(link: "Link", bundles: "dict[str, Bundle]") -> "dict[str, tuple[Bundle, str]]":
    """Every bundle onto the phone, with a bar."""
    from dreamlite_mobile.device.push import push_bundle

    found = {}
    for name, bundle in bundles.items():
        total = sum(entry.bytes for entry in bundle.manifest.files.values())
        with task(stderr, f"pushing {name}", total) as advance:
            found[name] = bundle, push_bundle(link, bundle, advance, notice).folder
    return found


def checked_phone(link: "Link", bundles: "dict[str, Bundle]") -> "PhoneFacts":
    """The phone's facts; WrongPhoneError when a bundle is for another."""
    from dreamlite_mobile.device.facts import read_facts
    from dreamlite_mobile.device.match import check_phone

    phone = read_facts(link)
    for bundle in bundles.values():
        check_phone(bundle, phone)
    return phone


def bench_app(
    link: "Link",
    bundles: "dict[str, Bundle]",
    modes: "tuple[Mode, ...]",
    method: "Method",
    source: "Image.Image | None",
    reference: "Reference | None",
    gate: float | None,
    limit: float,
) -> "tuple[BenchReport, list[Drawn]]":
    """Whole pictures through the app."""
    from dreamlite_mobile.device.app_run import App
    from dreamlite_mobile.device.bench import Plan, measure
    from dreamlite_mobile.device.report import gate_passed

    phone = checked_phone(link, bundles)
    app = App(link, limit + (method.sustain_s or 0.0))
    app.check_installed()
    plan = Plan(push_all(link, bundles), modes, method, source)
    with stderr.status("measuring") as status:
        cases, drawn = measure(app, plan, phone, reference, lambda text: status.update(Text(text)))
    first = cases[0].rounds[0].result.app
    parts = {"app": first, "cases": tuple(cases), "gate_s": gate, "gate_passed": gate_passed(cases, gate)}
    return report_of(link, phone, bundles, method, parts), drawn


def bench_runner(
    link: "Link",
    bundles: "dict[str, Bundle]",
    modes: "tuple[Mode, ...]",
    method: "Method",
    runner: Path,
    limit: float,
    unchecked: bool,
) -> "BenchReport":
    """Components alone through a binary."""
    from dreamlite_mobile.device.component_bench import component_cases, measure_parts
    from dreamlite_mobile.device.runner import parts_of, push_runner
    from dreamlite_mobile.runtime.session import Session

    phone = checked_phone(link, bundles)
    binary = push_runner(link, runner, limit)
    parts = [
        part
        for name, (bundle, folder) in push_all(link, bundles).items()
        for part in parts_of(name, bundle, folder, modes)
    ]
    with stderr.status("measuring") as status:
        taken = measure_parts(binary, parts, method, lambda text: status.update(Text(text)))
    runnable = {name: bundle for name, bundle in bundles.items() if bundle.manifest.backend == "xnnpack"}
    with ExitStack() as stack:
        hosts = {
            name: stack.enter_context(Session(bundle, frugal=True)).component
            for name, bundle in runnable.items()
            if not unchecked
        }
        components = component_cases(binary, taken, bundles, hosts, method, phone)
    measured = {"app": None, "components": tuple(components), "gate_s": None, "gate_passed": None}
    return report_of(link, phone, bundles, method, measured)


@bench.command("compare")
def compare(
    before: Annotated[
        Path, typer.Argument(help="The earlier result file (what `bench --json` printed or --save kept).")
    ],
    now: Annotated[
        Path | None, typer.Argument(help="The later one; without it the bundles of the first file are compared.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Compare two result files case by case, or the bundles of one.

    Exits with 3 when a median became significantly slower or a later picture is wrong.

    A change counts when it is over 3 % and a permutation test of the rounds (processes) gives luck under 5 %: that
    needs 4 rounds on each side.

    Example: dreamlite bench compare before.json now.json
    """
    from dreamlite_mobile.device.comparison import check_compared, compare_reports, compare_within
    from dreamlite_mobile.device.report import read_report

    if now is None:
        later = read_report(before)
        title, (rows, remarks) = before.name, compare_within(later)
        if not rows:
            raise ConfigError(f"{before}: nothing to compare: {'; '.join(remarks)}. Measure bundles of one size.")
    else:
        later = read_report(now)
        title, (rows, remarks) = f"{before.name} and {now.name}", compare_reports(read_report(before), later)
    show_comparison(title, rows, remarks, json_output)
    check_compared(rows, later)
