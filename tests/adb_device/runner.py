"""A pushed runner binary: answers like executor_runner or qnn_executor_runner; the component runs on this machine."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from adb_device.shell import Call

BINARIES = {"executor_runner", "qnn_executor_runner"}


def run_binary(call: "Call", program: str) -> int:
    """By its name; a failure is said on stderr."""
    name = program.rsplit("/", 1)[1]
    if name not in BINARIES:
        call.err += f"{program}: not executable: 64-bit ELF file\n".encode()
        return 126
    options = dict(word.lstrip("-").split("=", 1) for word in call.words[1:])
    model = call.phone.storage.host(call.path(options["model_path"]))
    if not model.is_file():
        call.err += f"Failed to open {options['model_path']}\n".encode()
        return 1
    if call.phone.faults.crash:
        return 139
    run = run_qnn if name == "qnn_executor_runner" else run_plain
    call.phone.running = name
    try:
        time.sleep(call.phone.faults.slow)
        return run(call, model, options)
    finally:
        call.phone.running = None


def program_of(model: Path) -> Any:
    """The first method, as both binaries take it, or the one named."""
    from executorch.runtime import Runtime

    return Runtime.get().load_program(model)


def tensors(call: "Call", names: list[str], meta: Any) -> list[Any]:
    """Inputs from raw files."""
    import torch

    found = []
    for index, name in enumerate(names):
        data = np.frombuffer(call.phone.storage.host(call.path(name)).read_bytes(), np.float32)
        found.append(torch.from_numpy(data.reshape(tuple(meta.input_tensor_meta(index).sizes())).copy()))
    return found


def run_plain(call: "Call", model: Path, options: dict[str, str]) -> int:
    """`executor_runner --model_path --inputs --output_file --num_executions [--method_name]`."""
    program = program_of(model)
    name = options.get("method_name") or program._program.get_method_name(0)
    inputs = tensors(call, options["inputs"].split(","), program.metadata(name))
    loaded = program.load_method(name)
    count = int(options.get("num_executions", "1"))
    began = time.perf_counter()
    for _ in range(count):
        outputs = loaded.execute(inputs)
    taken = 1000 * (time.perf_counter() - began)
    for index, output in enumerate(outputs):
        call.phone.storage.write(call.path(f"{options['output_file']}-{index}.bin"), output.numpy().tobytes())
    call.err += (
        f"I 00:00:00.1 executorch:executor_runner.cpp:500] Model executed successfully {count} time(s) ".encode()
    )
    call.err += f"in {taken:f} ms.\n".encode()
    return 0


def run_qnn(call: "Call", model: Path, options: dict[str, str]) -> int:
    """`qnn_executor_runner --model_path --input_list_path --output_folder_path --iteration [--method_index]`."""
    program = program_of(model)
    name = program._program.get_method_name(int(options.get("method_index", "0")))
    loaded = program.load_method(name)
    lines = (call.phone.read(call.path(options["input_list_path"])) or b"").decode().split("\n")
    for number, line in enumerate(filter(None, lines)):
        inputs = tensors(call, line.split(" "), program.metadata(name))
        began = time.perf_counter()
        outputs = loaded.execute(inputs)
        taken = 1000 * (time.perf_counter() - began)
        call.say(
            f"I 00:00:00.1 executorch:qnn_executor_runner.cpp:420] 1 inference took {taken:f} ms, avg {taken:f} ms"
        )
        for index, output in enumerate(outputs):
            place = f"{options['output_folder_path']}/output_{number}_{index}.raw"
            call.phone.storage.write(call.path(place), output.numpy().tobytes())
    return 0
