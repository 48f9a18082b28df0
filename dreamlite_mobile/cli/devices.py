"""`dreamlite devices`: the phones that adb knows, and what each says of itself."""

from typing import Annotated

import typer

from dreamlite_mobile.cli.shared import JsonOption, gigabytes, notice, print_json, stdout, table

SerialOption = Annotated[
    str | None, typer.Option(help="The phone, by its serial (see `dreamlite devices`), where several are attached.")
]


def devices(
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove from the phone everything that benchmarks have pushed onto it.")
    ] = False,
    serial: SerialOption = None,
    json_output: JsonOption = False,
) -> None:
    """List attached phones with their chips, or remove from one of them what was pushed onto it.

    Example: dreamlite devices
    """
    from dreamlite_mobile.device.find import READY, adb_client, attached, find_phone, not_ready

    client = adb_client()
    if clean:
        from dreamlite_mobile.device.clean import clean as clean_phone

        cleaned = clean_phone(find_phone(client, serial))
        if json_output:
            print_json({"cleaned": list(cleaned)})
        else:
            stdout.print("\n".join(cleaned) if cleaned else "nothing was there", markup=False)
        return
    from dreamlite_mobile.device.facts import read_facts

    states = attached(client)
    chosen = {name: state for name, state in states.items() if serial in (None, name)}
    if serial is not None and not chosen:
        find_phone(client, serial)
    facts = [read_facts(find_phone(client, name)) for name, state in chosen.items() if state == READY]
    waiting = {name: state for name, state in chosen.items() if state != READY}
    if json_output:
        print_json({"phones": [fact.model_dump(mode="json") for fact in facts], "not_ready": waiting})
        return
    if not states:
        find_phone(client)
    rows = [
        [
            fact.serial,
            fact.model,
            fact.soc or "unknown",
            fact.android,
            "" if fact.ram_bytes is None else gigabytes(fact.ram_bytes),
            gigabytes(fact.free_bytes),
        ]
        for fact in facts
    ]
    if rows:
        table("phones", ["serial", "model", "chip", "Android", "memory", "free storage"], rows, right=(4, 5))
    for name, state in waiting.items():
        notice(str(not_ready(name, state)))
