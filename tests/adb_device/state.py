"""How the phone is: properties, heat, battery; scripted by a test."""

from dataclasses import dataclass, field

BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: {usb}
  Wireless powered: false
  Dock powered: false
  Max charging current: 0
  status: {status}
  health: 2
  present: true
  level: {level}
  scale: 100
  voltage: 4221
  temperature: {temperature}
  technology: Li-poly"""
THERMAL = """IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 3
Thermal Status: {status}
Cached temperatures:
\tTemperature{{mValue=33.1, mType=2, mName=battery, mStatus=0}}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{{mValue={skin}, mType=3, mName=skin, mStatus={status}}}
\tTemperature{{mValue=47.5, mType=0, mName=CPU0, mStatus=0}}
Current cooling devices from HAL:
\tCoolingDevice{{mValue=0, mType=2, mName=battery}}"""
XIAOMI_14 = {
    "ro.product.manufacturer": "Xiaomi",
    "ro.product.model": "23127PN0CC",
    "ro.product.marketname": "Xiaomi 14",
    "ro.soc.manufacturer": "QTI",
    "ro.soc.model": "SM8650",
    "ro.board.platform": "pineapple",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.product.cpu.abilist": "arm64-v8a",
    "ro.build.fingerprint": "Xiaomi/houji/houji:14/UKQ1.230804.001/V816.0.4.0.UNCCNXM:user/release-keys",
    "ro.dreamlite.emulated": "1",
}


@dataclass
class State:
    """`thermal`: the status at each time it is asked for; the last one stays.

    `busy`: share of CPU time of others, `storm`: what they take more while the app runs, which itself takes `own`.
    """

    properties: dict[str, str] = field(default_factory=lambda: dict(XIAOMI_14))
    thermal: list[int] = field(default_factory=lambda: [0])
    charging: bool = False
    battery_percent: int = 83
    battery_celsius: float = 31.0
    skin_celsius: float = 33.5
    busy: float = 0.02
    storm: float = 0.0
    own: float = 0.4
    ticks: float = 0.0
    used: float = 0.0
    app_ticks: float = 0.0

    def thermal_status(self) -> int:
        """The script goes on by one."""
        return self.thermal.pop(0) if len(self.thermal) > 1 else self.thermal[0]

    def cpu_line(self, app_runs: bool) -> str:
        """`/proc/stat`: at each reading half a second of 8 CPUs has gone by."""
        self.ticks += 400
        own = 400 * self.own if app_runs else 0.0
        self.app_ticks += own
        self.used += min(400.0, 400 * (self.busy + (self.storm if app_runs else 0.0)) + own)
        return f"cpu  {round(self.used)} 0 0 {round(self.ticks) - round(self.used)} 0 0 0 0 0 0\n"

    def app_line(self) -> str:
        """`/proc/PID/stat` of the app, up to its system ticks."""
        return f"4711 (dreamlite (app)) S 1 1 0 0 -1 0 0 0 0 0 {round(self.app_ticks)} 0 0 0 20 0 12\n"
