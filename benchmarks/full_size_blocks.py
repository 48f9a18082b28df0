"""Sampled blocks of a full-size component, each lowered alone by a backend, against torch in float32.

    .venv/bin/python -m benchmarks.full_size_blocks full --components unet --precision w8 --size 512
    .venv/bin/python -m benchmarks.full_size_blocks full --components text_encoder --backend coreml --precision p4

Components have the precisions that `dreamlite export` gives them with these options; qnn files run on the emulator. Of
blocks of one kind with weights of the same shapes the first and the last are taken, each with the inputs that torch
hands it in a run of the component's first method on a seeded sample. The rows go to full_size.md's table.
"""

import argparse
import json
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.full_size import add_blocks
from dreamlite_mobile.cli.shared import names, quiet_libraries, with_qnn
from dreamlite_mobile.components import MODES, sizes_text

if TYPE_CHECKING:
    from torch import nn

    from dreamlite_mobile.bundle import Bundle
    from dreamlite_mobile.networks.form import Form
    from dreamlite_mobile.parity.blocks import Call
    from export.driver import Plan


def sampled_names(network: "nn.Module") -> list[str]:
    """Of every kind of block with weights of the same shapes the first and the last, in the order of definition."""
    from dreamlite_mobile.parity.blocks import named_blocks

    alike: dict[tuple[object, ...], list[str]] = {}
    for name, block in named_blocks(network):
        shapes = tuple(tuple(weight.shape) for weight in block.state_dict().values())
        alike.setdefault((type(block).__name__, shapes), []).append(name)
    chosen = {name for group in alike.values() for name in (group[0], group[-1])}
    return [name for name, _ in named_blocks(network) if name in chosen]


def network_of(plan: "Plan", component: str, form: "Form") -> "nn.Module":
    """The component's first method, its weights in float32."""
    from dreamlite_mobile.assembly import component_methods

    methods = component_methods(plan.request.checkpoint, component, form, plan.geometry, plan.request.modes)
    return next(iter(methods.values()))


def reference_calls(plan: "Plan", component: str) -> "list[Call]":
    """The sampled blocks' calls in float32 torch; the network itself is gone afterwards."""
    from dreamlite_mobile.networks.form import REFERENCE
    from dreamlite_mobile.parity.blocks import record_calls
    from export.backends import example_inputs

    network = network_of(plan, component, REFERENCE)
    inputs = example_inputs(next(iter(plan.specs[component].methods.values())))
    return record_calls(network, inputs, sampled_names(network))


def holder(plan: "Plan", folder: Path) -> "Bundle":
    """What blocks are exported and run by: a manifest that names backend and tools, and nothing else."""
    from dreamlite_mobile.bundle import Bundle
    from dreamlite_mobile.bundle_schema import Manifest
    from export.manifest import tool_versions

    chosen = plan.exporter
    manifest = Manifest.model_construct(
        backend=plan.request.backend,
        target=chosen.target,
        needs=chosen.needs(tool_versions()),
        htp=chosen.htp,
        coreml=chosen.coreml,
    )
    return Bundle(folder, manifest)


def measured_blocks(plan: "Plan", component: str) -> list[dict[str, Any]]:
    """Name, kind, shape of the result, and SNR in dB of each sampled block."""
    from dreamlite_mobile.networks.form import form_of
    from dreamlite_mobile.parity.block_bundle import export_module, run_module
    from dreamlite_mobile.parity.blocks import BLOCK, Alone
    from dreamlite_mobile.parity.metrics import compare

    calls = reference_calls(plan, component)
    form = form_of(plan.request.backend, plan.precisions[component])
    formed, found = network_of(plan, component, form), []
    with tempfile.TemporaryDirectory(prefix="dreamlite-blocks-") as work:
        bundle = holder(plan, Path(work))
        for call in calls:
            module = Alone(call.name, formed.get_submodule(call.name), call.arguments).eval()
            made = export_module(bundle, call.spec, module, plan.precisions[component], Path(work, call.name))
            snr = compare(run_module(made, BLOCK, call.inputs)["output"], call.output.numpy()).snr_db
            shape = list(call.output.shape)
            found.append({"name": call.name, "kind": call.kind, "shape": shape, "snr_db": round(snr, 2)})
            print(json.dumps(found[-1]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--backend", default="xnnpack")
    parser.add_argument("--precision")
    parser.add_argument("--size", default="1024")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--components", required=True)
    given = parser.parse_args()
    emulated = given.backend == "qnn"
    if emulated:
        with_qnn()
    quiet_libraries()
    from dreamlite_mobile.cli.export import planned

    options = [argument for argument in sys.argv[1:] if argument != str(given.checkpoint)]
    plan = planned(
        str(given.checkpoint),
        given.backend,
        given.precision,
        (given.size,),
        names(given.components),
        names(given.modes) or (),
        emulator=emulated,
    )
    for component in plan.specs:
        begin = time.process_time()
        blocks = measured_blocks(plan, component)
        add_blocks(
            {
                "command": shlex.join(["python", "-m", "benchmarks.full_size_blocks", given.checkpoint.name, *options]),
                "component": component,
                "method": next(iter(plan.specs[component].methods)),
                "backend": given.backend,
                "precision": plan.precisions[component],
                "size": sizes_text(plan.request.sizes),
                "cpu_seconds": round(time.process_time() - begin),
                "blocks": blocks,
            }
        )


if __name__ == "__main__":
    main()
