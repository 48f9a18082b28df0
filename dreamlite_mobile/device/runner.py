"""A runner binary that the user has built, on the phone: executor_runner or qnn_executor_runner, both of executorch.

`qnn_executor_runner` takes a list of inputs and says how long each took, so one process gives every sample; its
`inference_speed.txt` divides by the lines of the list, not by the runs, and is not read. `executor_runner` says how
long all its runs took together: each sample is the mean of the runs of one process, the first of which is cold.
Neither says how long loading took.
"""

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_checks import geometry
from dreamlite_mobile.bundle_fields import Mode, check_relative
from dreamlite_mobile.bundle_programs import MethodEntry
from dreamlite_mobile.components import component_specs, sample_inputs, sized_method
from dreamlite_mobile.device import sync
from dreamlite_mobile.device.errors import DeviceError, RunnerError
from dreamlite_mobile.device.link import Link, Output, quoted
from dreamlite_mobile.device.places import RUNNERS
from dreamlite_mobile.device.push import local_file, push_files, write_list
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.runtime import Array

NAMES = ("qnn_executor_runner", "executor_runner")
SAMPLE_SEED = 1
STOPPED = 124
"""What `timeout` ends with when it had to stop a program."""
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
        """Run it in its folder, which is also where its libraries are looked for; an interrupted wait stops it.

        Raises:
            RunnerError: it failed, or was not done within the limit and was stopped. LinkLostError.
        """
        words = " ".join(f"--{name}={quoted(str(value))}" for name, value in options.items())
        here = quoted(self.folder)
        program = f"timeout {self.limit_s:g} ./{self.name} {words}"
        line = f"cd {here} && LD_LIBRARY_PATH={here} ADSP_LIBRARY_PATH={here} {program}"
        try:
            found = self.link.shell(line, self.limit_s + self.link.patience_s)
        except (KeyboardInterrupt, SystemExit):
            with contextlib.suppress(DeviceError):
                self.stop()
            raise
        if found.code == STOPPED:
            raise RunnerError(
                f"{self.link.serial}: {self.name} was not done after {self.limit_s:g} s and was stopped. Raise "
                "--limit, or ask for fewer --runs."
            )
        if found.code != 0:
            said = (found.err or found.out).strip().splitlines()[-5:]
            raise RunnerError(
                f"{self.link.serial}: {self.name} ended with {found.code} and said: {' / '.join(said) or 'nothing'}. "
                "Is it built for arm64 Android with the backend of the bundle, and are its libraries beside it?"
            )
        return found

    def stop(self) -> None:
        """No process of it is left, to heat the phone for nobody."""
        pids = [word for word in self.link.shell(f"pidof {self.name}").out.split() if word.isdigit()]
        if pids:
            self.link.shell(f"kill {' '.join(pids)}")


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


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One method of one component of one bundle.

    `bundle`: its name in the report. `program`: the file on the phone; `index`: of the method in it. `folder`: below
    the runner's, for what goes in and comes out.
    """

    bundle: str
    component: str
    method: str
    spec: MethodEntry
    program: str
    index: int
    inputs: Mapping[str, Array]
    folder: str

    @property
    def input_files(self) -> list[str]:
        return [f"{self.folder}/input-{index}.raw" for index in range(len(self.spec.inputs))]


@dataclass(frozen=True, slots=True)
class Ran:
    """One turn of a part: milliseconds of its first run and of each sample, its raw outputs."""

    first_ms: float
    samples_ms: tuple[float, ...]
    outputs: tuple[bytes, ...]


def parts_of(name: str, bundle: Bundle, folder: str, modes: Sequence[Mode]) -> list[Part]:
    """What the modes need of a bundle that lies in `folder` on the phone, on the seeded samples that parity uses.

    Raises:
        ConfigError: a method that is cut into several programs.
    """
    found = []
    for component, described in component_specs(geometry(bundle.manifest, bundle.size.sides), modes).items():
        for call, method in described.methods.items():
            key = sized_method(component, call, bundle.suffix)
            spec = bundle.manifest.components[component].methods[key]
            if spec.then:
                raise ConfigError(f"{bundle.path}: {component}.{key} is cut into several programs; runners take one")
            found.append(
                Part(
                    bundle=name,
                    component=component,
                    method=key,
                    spec=spec,
                    program=f"{folder}/{spec.file}",
                    index=methods_in_file(bundle.file(spec.file)).index(key),
                    inputs=sample_inputs(method, SAMPLE_SEED),
                    folder=f"{folder.rsplit('/', 1)[1]}/{component}.{key}",
                )
            )
    return found


def methods_in_file(path: Path) -> list[str]:
    """The methods of a `.pte` in the order of the file, by which `qnn_executor_runner` counts them."""
    from executorch.runtime import Runtime

    program: Any = Runtime.get().load_program(path)
    return [program._program.get_method_name(index) for index in range(program._program.num_methods())]


def push_inputs(runner: Runner, part: Part) -> None:
    """Raw little-endian inputs in the order of the method, and a folder for the outputs."""
    with TemporaryDirectory(prefix="dreamlite-inputs-") as here:
        wanted = []
        for name, tensor in zip(part.input_files, part.spec.inputs, strict=True):
            path = Path(here, name.rsplit("/", 1)[1])
            path.write_bytes(np.ascontiguousarray(part.inputs[tensor.name], "<f4").tobytes())
            wanted.append(local_file(path, name))
        push_files(runner.link, runner.folder, wanted)
    runner.link.checked(f"mkdir -p {quoted(f'{runner.folder}/{part.folder}/out')}")


def run_part(runner: Runner, part: Part, warm_up: int, runs: int, threads: int | None) -> Ran:
    """One turn: a first run, `warm_up` runs, `runs` timed ones; `executor_runner` cannot warm up.

    Raises:
        RunnerError: the binary failed, printed no times, or wrote outputs of another size.
    """
    if runner.takes_list:
        return run_list(runner, part, warm_up, runs)
    return run_means(runner, part, runs, threads)


def run_list(runner: Runner, part: Part, warm_up: int, runs: int) -> Ran:
    """`qnn_executor_runner`: every run a line of its list."""
    lines = 1 + warm_up + runs
    listed = f"{part.folder}/{lines}.txt"
    with TemporaryDirectory(prefix="dreamlite-list-") as here:
        path = Path(here, "list.txt")
        path.write_text(f"{' '.join(part.input_files)}\n" * lines)
        push_files(runner.link, runner.folder, [local_file(path, listed)])
    count = len(part.spec.outputs)
    made = [f"{part.folder}/out/output_{line}_{index}.raw" for line in range(lines) for index in range(count)]
    expect_files(runner, made)
    printed = runner.execute(
        {
            "model_path": part.program,
            "input_list_path": listed,
            "output_folder_path": f"{part.folder}/out",
            "iteration": 1,
            "method_index": part.index,
        }
    )
    times = [float(text) for text in _QNN_TIME.findall(printed.out + printed.err)]
    if len(times) < lines:
        raise unreadable(runner, printed, f"{len(times)} of {lines} times")
    return Ran(times[0], tuple(times[1 + warm_up : lines]), read_outputs(runner, made[:count], part.spec))


def run_means(runner: Runner, part: Part, runs: int, threads: int | None) -> Ran:
    """`executor_runner`: a process of one run, then one of `runs`."""
    made = [f"{part.folder}/out/out-{index}.bin" for index in range(len(part.spec.outputs))]
    expect_files(runner, made)
    options = {
        "model_path": part.program,
        "inputs": ",".join(part.input_files),
        "output_file": f"{part.folder}/out/out",
        "method_name": part.method,
        **({} if threads is None else {"cpu_threads": threads}),
    }
    times = []
    for executions in (1, runs):
        printed = runner.execute({**options, "num_executions": executions})
        match = _PLAIN_TIME.search(printed.out + printed.err)
        if match is None:
            raise unreadable(runner, printed, "no time")
        times.append(float(match[2]) / int(match[1]))
    return Ran(times[0], (times[1],), read_outputs(runner, made, part.spec))


def expect_files(runner: Runner, names: Sequence[str]) -> None:
    """What a run is about to write: none of it is there from an earlier one, all of it is known to `--clean`."""
    write_list(runner.link, runner.folder, names)
    folders = sorted({name.rsplit("/", 1)[0] for name in names})
    runner.link.checked(f"rm -f {' '.join(quoted(f'{runner.folder}/{folder}') + '/*' for folder in folders)}")


def read_outputs(runner: Runner, names: Sequence[str], spec: MethodEntry) -> tuple[bytes, ...]:
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
    return tuple(found)


def unreadable(runner: Runner, printed: Output, what: str) -> RunnerError:
    """What was printed holds too little."""
    tail = " / ".join((printed.err or printed.out).strip().splitlines()[-3:]) or "nothing"
    return RunnerError(
        f"{runner.link.serial}: {runner.name} printed {what}: {tail}. Build it with logging on (ET_LOG to stderr)."
    )
