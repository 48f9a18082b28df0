"""How a phone is at one moment, seen from outside: heat, battery, what else keeps it busy."""

import re
import time
from collections.abc import Callable

from dreamlite_mobile.device.link import Link
from dreamlite_mobile.device.schema import Conditions
from dreamlite_mobile.strict import Strict

BUSY_WINDOW_S = 0.5
_STATUS = re.compile(r"Thermal Status: (\d)")
_FIELD = re.compile(r"^\s*(\w[\w ]*): (.+)$", re.MULTILINE)
_NUMBER = re.compile(r"\s*-?[0-9]{1,9}\s*")
_POWERED = ("AC powered", "USB powered", "Wireless powered", "Dock powered")
_CHARGING = "2"
"""BatteryManager.BATTERY_STATUS_CHARGING."""
STATUS_NAMES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")


class Seen(Strict):
    """Conditions and the share of CPU time that was in use. `powered`: on a cable, whether it charges or not."""

    conditions: Conditions
    powered: bool | None
    busy_share: float | None


def look(link: Link, window_s: float = BUSY_WINDOW_S) -> Seen:
    """Ask the phone; what it does not say is None."""
    battery = dict(_FIELD.findall(link.shell("dumpsys battery").out))
    begin = cpu_ticks(link)
    time.sleep(window_s)
    return Seen(
        conditions=Conditions(
            thermal_status=thermal_status(link),
            charging=battery["status"].strip() == _CHARGING if "status" in battery else None,
            battery_percent=percent(battery.get("level")),
            battery_celsius=tenths(battery.get("temperature")),
        ),
        powered=any(battery[name].strip() == "true" for name in _POWERED if name in battery) if battery else None,
        busy_share=share_busy(begin, cpu_ticks(link)),
    )


def thermal_status(link: Link) -> int | None:
    """0 none ... 6 shutdown; None before Android 10."""
    match = _STATUS.search(link.shell("dumpsys thermalservice").out)
    return int(match[1]) if match and int(match[1]) < len(STATUS_NAMES) else None


def cool_down(
    link: Link, status: int | None, limit_s: float, pause_s: float, tell: Callable[[str], None] = lambda _: None
) -> tuple[float, bool]:
    """Wait until the thermal status is `status` or lower, at most `limit_s`. Seconds waited, and whether it is."""
    begin = time.monotonic()
    while True:
        now = thermal_status(link)
        waited = time.monotonic() - begin
        if now is None or now <= (status or 0):
            return waited, True
        if waited >= limit_s:
            return waited, False
        tell(f"thermal status {STATUS_NAMES[now]}: cooling down")
        time.sleep(min(pause_s, max(0.0, limit_s - waited)))


def cpu_ticks(link: Link) -> tuple[int, int] | None:
    """Busy and all ticks of all CPUs since boot."""
    return busy_and_all(link.shell("cat /proc/stat 2>/dev/null").out.partition("\n")[0])


def busy_and_all(line: str) -> tuple[int, int] | None:
    """Of the first line of /proc/stat; None if it is something else."""
    fields = line.split()
    if len(fields) < 6 or fields[0] != "cpu" or not all(field.isdigit() for field in fields[1:]):
        return None
    ticks = [int(field) for field in fields[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def share_busy(begin: tuple[int, int] | None, end: tuple[int, int] | None) -> float | None:
    """0 all idle, 1 all busy."""
    if begin is None or end is None or end[1] <= begin[1]:
        return None
    return min(1.0, max(0.0, (end[0] - begin[0]) / (end[1] - begin[1])))


def number(text: str | None) -> int | None:
    """A whole number as phones print it; anything else is None."""
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None


def percent(text: str | None) -> int | None:
    """None outside 0 to 100: a broken gauge says nothing."""
    found = number(text)
    return found if found is not None and 0 <= found <= 100 else None


def tenths(text: str | None) -> float | None:
    """`310` is 31.0 degrees."""
    found = number(text)
    return None if found is None else found / 10
