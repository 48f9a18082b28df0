"""What a phone says of itself, read once at the beginning; what it does not say stays None."""

import re
from collections.abc import Mapping

from dreamlite_mobile.device.errors import CommandError
from dreamlite_mobile.device.link import Link, quoted
from dreamlite_mobile.device.places import ROOT
from dreamlite_mobile.strict import Strict

_PROPERTY = re.compile(r"^\[([^\]]+)\]: \[(.*)\]$")
_ZONE = re.compile(r"Temperature\{mValue=(-?[0-9]{1,4}(?:\.[0-9]+)?), mType=-?\d+, mName=([^,]+), mStatus=([0-9])\}")
SOC_PROPERTIES = ("ro.soc.model", "ro.vendor.soc.model", "ro.vendor.qti.soc_model", "ro.boot.hardware.sku")
_SOC_MACHINE = "/sys/devices/soc0/machine"
PLATFORMS = {
    "lahaina": "SM8350",
    "taro": "SM8450",
    "kalama": "SM8550",
    "pineapple": "SM8650",
    "sun": "SM8750",
    "canoe": "SM8850",
}
"""`ro.board.platform` of the flagship chip of each family: the last resort, as lesser chips share the name."""


class Zone(Strict):
    """One temperature sensor."""

    name: str
    celsius: float
    status: int


class PhoneFacts(Strict):
    """A phone. `soc_from`: where the chip was read; a platform name is a guess, and says so."""

    serial: str
    model: str
    soc: str | None
    soc_from: str | None
    android: str
    sdk: int | None
    abis: tuple[str, ...]
    fingerprint: str
    ram_bytes: int | None
    free_bytes: int
    zones: tuple[Zone, ...]
    governors: dict[str, str]
    max_khz: dict[str, int]
    emulated: bool = False

    @property
    def title(self) -> str:
        return f"{self.model} ({self.soc or 'unknown chip'}, Android {self.android})"


def read_facts(link: Link) -> PhoneFacts:
    """Ask the phone.

    Raises:
        LinkLostError: the link ended. CommandError: something that every Android answers failed.
    """
    properties = read_properties(link)
    soc, origin = find_soc(properties, link.shell(f"cat {_SOC_MACHINE} 2>/dev/null").out)
    sdk = properties.get("ro.build.version.sdk", "")
    return PhoneFacts(
        serial=link.serial,
        model=model_name(properties),
        soc=soc,
        soc_from=origin,
        android=properties.get("ro.build.version.release", "unknown"),
        sdk=int(sdk) if sdk.isdigit() else None,
        abis=tuple(filter(None, properties.get("ro.product.cpu.abilist", "").split(","))),
        fingerprint=properties.get("ro.build.fingerprint", "unknown"),
        ram_bytes=total_memory(link.shell("cat /proc/meminfo").out),
        free_bytes=free_storage(link),
        zones=read_zones(link.shell("dumpsys thermalservice").out),
        governors=per_policy(link, "scaling_governor"),
        max_khz={name: int(value) for name, value in per_policy(link, "cpuinfo_max_freq").items() if value.isdigit()},
        emulated=properties.get("ro.dreamlite.emulated") == "1",
    )


def read_properties(link: Link) -> dict[str, str]:
    """Every system property."""
    matches = (_PROPERTY.match(line.strip()) for line in link.checked("getprop").splitlines())
    return {match[1]: match[2] for match in matches if match}


def model_name(properties: Mapping[str, str]) -> str:
    """The name on the box where the maker states it, with the model number."""
    model = properties.get("ro.product.model", "unknown model")
    market = properties.get("ro.product.marketname") or properties.get("ro.product.marketingname")
    if market and market != model:
        return f"{market}, {model}"
    maker = properties.get("ro.product.manufacturer", "")
    return model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip()


def find_soc(properties: Mapping[str, str], machine: str = "") -> tuple[str | None, str | None]:
    """The chip as `SM8650`, and where it was read."""
    for name in SOC_PROPERTIES:
        if number := soc_number(properties.get(name, "")):
            return number, name
    if number := soc_number(machine):
        return number, _SOC_MACHINE
    stated = properties.get("ro.soc.model")
    if stated and stated.lower() not in PLATFORMS:
        return stated, "ro.soc.model"
    platform = properties.get("ro.board.platform", "").lower()
    if platform in PLATFORMS:
        return PLATFORMS[platform], f"guessed from ro.board.platform={platform}"
    return None, None


def soc_number(text: str) -> str | None:
    """`SM8650-AC` and `sm8650` are SM8650; None where there is no such number."""
    match = re.search(r"\b(SM\d{4})", text.upper())
    return match[1] if match else None


def total_memory(meminfo: str) -> int | None:
    """Bytes, of `/proc/meminfo`."""
    match = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def free_storage(link: Link) -> int:
    """Bytes free where bundles go.

    Raises:
        CommandError: `df` that cannot be read.
    """
    printed = link.checked(f"df -k {quoted(ROOT.rsplit('/', 1)[0])}")
    fields = printed.strip().splitlines()[-1].split()
    if len(fields) < 4 or not fields[3].isdigit():
        raise CommandError(f"{link.serial}: df printed {printed.strip()!r}, from which free storage cannot be read")
    return int(fields[3]) * 1024


def read_zones(printed: str) -> tuple[Zone, ...]:
    """The sensors as the thermal service sees them now, else as it saw them last."""
    current = printed.partition("Current temperatures from HAL:")[2].partition("cooling devices")[0]
    found = _ZONE.findall(current or printed)
    return tuple(Zone(name=name, celsius=float(value), status=int(status)) for value, name, status in found)


def per_policy(link: Link, name: str) -> dict[str, str]:
    """One value of each CPU policy that may be read."""
    base = "/sys/devices/system/cpu/cpufreq"
    listed = link.shell(f"ls {base} 2>/dev/null").out.split()
    found = {}
    for policy in sorted(listed):
        value = link.shell(f"cat {base}/{quoted(policy)}/{name} 2>/dev/null").out.strip()
        if value:
            found[policy] = value
    return found
