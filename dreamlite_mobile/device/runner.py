"""Components one by one through a runner binary that the user has built: executor_runner or qnn_executor_runner.

Both are of executorch. `qnn_executor_runner` takes a list of inputs and says how long each took, so one process gives
every sample; its `inference_speed.txt` divides by the lines of the list, not by the runs, and is not read.
`executor_runner` says how long all its runs took together: each sample is the mean of the runs of one process.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_checks import geometry
from dreamlite_mobile.bundle_schema import MethodEntry, check_relative
from dreamlite_mobile.components import component_specs, sample_inputs
from dreamlite_mobile.device import sync
from dreamlite_mobile.device.errors import RunnerError
from dreamlite_mobile.device.link import Link, Output, quoted
from dreamlite_mobile.device.places import RUNNERS
from dreamlite_mobile.device.push import local_file, push_files, write_list
from dreamlite_mobile.device.report import ComponentCase, Method
from dreamlite_mobile.device.stats import summarise
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.parity.metrics import compare
from dreamlite_mobile.parity.thresholds import floor
from dreamlite_mobile.runtime import Array, Component

NAMES = ("qnn_executor_runner", "executor_runner")
SAMPLE_SEED = 1
_OUTPUT_LIMIT = 1 << 30
_QNN_TIME = re.compile(r"\b1 inference took ([\d.]+) ms")
_PLAIN_TIME = re.compile(r"executed successfully (\d+) time\(s\) in ([\d.]+) ms")


@dataclass(frozen=True, slots=True)
class Runner:
    """A binary with the libraries beside it, pushed to `folder`. `limit_s`: of one process."""

    link: Link
    folder: str
    name: str
    limit_s: float

    @property
    def takes_list(self) -> bool:
        return self.name.startswith("qnn_")

    def execute(self, options: Mapping[str, object]) -> Output:
        """Run it in its folder, which is also where its libraries are looked for."""
        words = " ".join(f"--{name}={quoted(str(value))}" for name, value in options.items())
        here = quoted(self.folder)
        line = f"cd {here} && LD_LIBRARY_PATH={here} ADSP_LIBRARY_PATH={here} ./{self.name} {words}"
        found = self.link.shell(line, self.limit_s)
        if found.code != 0:
            said = (found.err or found.out).strip().splitlines()[-5:]
            raise RunnerError(
                f"{self.link.serial}: {self.name} ended with {found.code} and said: {' / '.join(said) or 'nothing'}. "
                "Is it built for arm64 Android with the backend of the bundle, and are its libraries beside it?"
            )
        return found


def push_runner(link: Link, path: Path, limit_s: float) -> Runner:
    """A binary, or a folder that holds one and its libraries, onto the phone.

    Raises:
        ConfigError: no binary of a known name, or several.
    """
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    binaries = [file for file in files if file.name in NAMES]
    if len(binaries) != 1 or not binaries[0].is_file():
        raise ConfigError(
            f"--runner {path}: found {len([file for file in binaries if file.is_file()])} binaries; give one named "
            f"{' or '.join(NAMES)}, or a folder that holds it and its libraries."
        )
    for file in files:
        check_name(path, file.name)
    wanted = [local_file(file, file.name) for file in files]
    binary = next(file for file in wanted if file.name == binaries[0].name)
    folder = f"{RUNNERS}/{binary.sha256[:16]}"
    push_files(link, folder, wanted)
    link.checked(f"chmod 755 {quoted(f'{folder}/{binary.name}')}")
    return Runner(link, folder, binary.name, limit_s)


def check_name(path: Path, name: str) -> None:
    """ConfigError for a file whose name the phone's side does not take."""
    try:
        check_relative(name)
    except ValueError as error:
        raise ConfigError(f"--runner {path}: {error}") from error


def measure_components(
    runner: Runner,
    name: str,
    bundle: Bundle,
    folder: str,
    method: Method,
    host: Callable[[str], Component] | None,
    tell: Callable[[str], None] = lambda _: None,
) -> list[ComponentCase]:
    """Every method of every component, on the seeded sample that parity uses.

    Args:
        name: of the bundle in the report. folder: where the bundle lies on the phone.
        host: gives a component to compare the outputs with; None where this machine cannot run it.

    Raises:
        RunnerError: the binary failed, printed no times, or wrote outputs of another size.
    """
    found = []
    specs = component_specs(geometry(bundle.manifest), bundle.manifest.modes)
    for component, entry in bundle.manifest.components.items():
        for key, spec in entry.methods.items():
            if spec.then:
                raise ConfigError(f"{bundle.path}: {component}.{key} is cut into several programs; runners take one")
            tell(f"{name}: {component}.{key} through {runner.name}")
            inputs = sample_inputs(specs[component].methods[key], SAMPLE_SEED)
            program = f"{folder}/{spec.file}"
            times, outputs = run_method(runner, program, bundle, key, spec, inputs, method)
            found.append(
                component_case(name, component, key, times, outputs, spec, inputs, bundle, host, method, runner)
            )
    return found


def run_method(
    runner: Runner,
    program: str,
    bundle: Bundle,
    key: str,
    spec: MethodEntry,
    inputs: Mapping[str, Array],
    method: Method,
) -> tuple[list[float], list[bytes]]:
    """Milliseconds of the first run, the warm-up runs and the timed ones; and the raw outputs."""
    files = push_inputs(runner, spec, inputs, method.warm_up + 1 + method.runs)
    if runner.takes_list:
        options = {
            "model_path": program,
            "input_list_path": "input_list.txt",
            "output_folder_path": "out",
            "iteration": 1,
            "method_index": methods_in_file(bundle.file(spec.file)).index(key),
        }
        lines = method.warm_up + 1 + method.runs
        made = [f"out/output_{line}_{index}.raw" for line in range(lines) for index in range(len(spec.outputs))]
        write_list(runner.link, runner.folder, made)
        runner.link.checked(f"mkdir -p {quoted(f'{runner.folder}/out')}")
        printed = runner.execute(options)
        names = [f"out/output_0_{index}.raw" for index in range(len(spec.outputs))]
        times = [float(text) for text in _QNN_TIME.findall(printed.out + printed.err)]
        wanted = method.warm_up + 1 + method.runs
        if len(times) < wanted:
            raise unreadable(runner, printed, f"{len(times)} of {wanted} times")
        return times[:wanted], read_outputs(runner, names, spec)
    names = [f"out-{index}.bin" for index in range(len(spec.outputs))]
    write_list(runner.link, runner.folder, names)
    options = {"model_path": program, "inputs": ",".join(files), "output_file": "out", "method_name": key}
    times = []
    for executions in (1, *[method.warm_up or 1] * bool(method.warm_up), *[method.runs] * method.rounds):
        printed = runner.execute({**options, "num_executions": executions})
        match = _PLAIN_TIME.search(printed.out + printed.err)
        if match is None:
            raise unreadable(runner, printed, "no time")
        times.append(float(match[2]) / int(match[1]))
    return times, read_outputs(runner, names, spec)


def methods_in_file(path: Path) -> list[str]:
    """The methods of a `.pte` in the order of the file, by which `qnn_executor_runner` counts them."""
    from executorch.runtime import Runtime

    program: Any = Runtime.get().load_program(path)
    return [program._program.get_method_name(index) for index in range(program._program.num_methods())]


def push_inputs(runner: Runner, spec: MethodEntry, inputs: Mapping[str, Array], lines: int) -> list[str]:
    """Raw little-endian inputs in the order of the method, and the list that names them once a run."""
    names = [f"input-{index}.raw" for index in range(len(spec.inputs))]
    with TemporaryDirectory(prefix="dreamlite-inputs-") as here:
        for name, tensor in zip(names, spec.inputs, strict=True):
            Path(here, name).write_bytes(np.ascontiguousarray(inputs[tensor.name], "<f4").tobytes())
        Path(here, "input_list.txt").write_text(f"{' '.join(names)}\n" * lines)
        wanted = [local_file(Path(here, name), name) for name in (*names, "input_list.txt")]
        push_files(runner.link, runner.folder, wanted)
    return names


def read_outputs(runner: Runner, names: list[str], spec: MethodEntry) -> list[bytes]:
    """What the runner wrote; RunnerError when it is of another size."""
    found = []
    for name, tensor in zip(names, spec.outputs, strict=True):
        data = sync.receive(runner.link, f"{runner.folder}/{name}", _OUTPUT_LIMIT)
        if len(data) != tensor.nbytes:
            raise RunnerError(
                f"{runner.link.serial}: {runner.name} wrote {len(data)} bytes of {tensor.name}, expected "
                f"{tensor.nbytes}. Did it run another method? Build it from the executorch that the bundle names."
            )
        found.append(data)
    return found


def unreadable(runner: Runner, printed: Output, what: str) -> RunnerError:
    """What was printed holds too little."""
    tail = " / ".join((printed.err or printed.out).strip().splitlines()[-3:]) or "nothing"
    return RunnerError(
        f"{runner.link.serial}: {runner.name} printed {what}: {tail}. Build it with logging on (ET_LOG to stderr)."
    )


def component_case(
    name: str,
    component: str,
    key: str,
    times: list[float],
    outputs: list[bytes],
    spec: MethodEntry,
    inputs: Mapping[str, Array],
    bundle: Bundle,
    host: Callable[[str], Component] | None,
    method: Method,
    runner: Runner,
) -> ComponentCase:
    """Times and, where this machine can run the component, how far its outputs are from the host's."""
    manifest = bundle.manifest
    least = floor(manifest.components[component].precision, manifest.backend).component_snr_db
    skipped = 1 + (method.warm_up if runner.takes_list else bool(method.warm_up))
    worst = None
    if host is not None:
        expected = host(component).run(key, inputs)
        worst = min(
            compare(np.frombuffer(data, "<f4").reshape(tensor.shape), expected[tensor.name]).snr_db
            for data, tensor in zip(outputs, spec.outputs, strict=True)
        )
    return ComponentCase(
        bundle=name,
        component=component,
        method=key,
        runner=runner.name,
        first_ms=times[0],
        samples_ms=tuple(times[skipped:]),
        runs_a_sample=1 if runner.takes_list else method.runs,
        warm=summarise(times[skipped:]),
        snr_db=worst if worst is not None and np.isfinite(worst) else None,
        floor_db=least,
        passed=None if worst is None else bool(worst >= least),
    )
