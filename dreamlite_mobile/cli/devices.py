"""`dreamlite devices`: the phones that adb knows, and what each says of itself."""

from typing import TYPE_CHECKING, Annotated

import typer

from dreamlite_mobile.cli.shared import JsonOption, gigabytes, notice, print_json, stdout, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adbutils import AdbClient

    from dreamlite_mobile.device.conditions import Seen
    from dreamlite_mobile.device.facts import PhoneFacts

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
        from dreamlite_mobile.device.occupied import occupied

        link = find_phone(client, serial)
        with occupied(link):
            cleaned = clean_phone(link)
        if json_output:
            print_json({"cleaned": list(cleaned)})
        else:
            stdout.print("\n".join(cleaned) if cleaned else "nothing was there", markup=False)
        return

    states = attached(client)
    chosen = {name: state for name, state in states.items() if serial in (None, name)}
    if serial is not None and not chosen:
        find_phone(client, serial)
    found, lost = ask_all(client, [name for name, state in chosen.items() if state == READY])
    waiting = {name: state for name, state in chosen.items() if state != READY}
    if json_output:
        phones = [{**fact.model_dump(mode="json"), "state": now.model_dump(mode="json")} for fact, now in found]
        print_json({"phones": phones, "not_ready": waiting, "lost": lost})
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
            battery_of(now),
        ]
        for fact, now in found
    ]
    if rows:
        table("phones", ["serial", "model", "chip", "Android", "memory", "free storage", "battery"], rows, right=(4, 5))
    for name, state in waiting.items():
        notice(str(not_ready(name, state)))
    for said in lost.values():
        notice(said)


def ask_all(client: "AdbClient", serials: "Sequence[str]") -> "tuple[list[tuple[PhoneFacts, Seen]], dict[str, str]]":
    """What each phone says of itself and how it is now; those that were lost meanwhile, by serial.

    Raises:
        LinkLostError: all of them were lost.
    """
    from dreamlite_mobile.device.conditions import look
    from dreamlite_mobile.device.errors import DeviceError, LinkLostError
    from dreamlite_mobile.device.facts import read_facts
    from dreamlite_mobile.device.find import find_phone

    found, lost = [], {}
    for serial in serials:
        try:
            link = find_phone(client, serial)
            found.append((read_facts(link), look(link, 0.0)))
        except DeviceError as error:  # the others are there all the same
            lost[serial] = str(error)
    if lost and not found:
        raise LinkLostError("\n".join(lost.values()))
    return found, lost


def battery_of(seen: "Seen") -> str:
    """Level, and whether it charges or is only on a cable."""
    found = seen.conditions
    level = "unknown" if found.battery_percent is None else f"{found.battery_percent}%"
    return f"{level}, charging" if found.charging else f"{level}, on a cable" if seen.powered else level
