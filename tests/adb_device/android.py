"""The Android commands that the toolkit uses: getprop, dumpsys, am, pm, pidof, logcat."""

from adb_device.shell import Call, Command
from adb_device.state import BATTERY, THERMAL


def getprop(call: Call) -> int:
    properties = call.phone.state.properties
    if len(call.words) > 1:
        call.say(properties.get(call.words[1], ""))
    else:
        for name, value in sorted(properties.items()):
            call.say(f"[{name}]: [{value}]")
    return 0


def dumpsys(call: Call) -> int:
    state = call.phone.state
    match call.words[1]:
        case "battery":
            text = BATTERY.format(
                usb=str(state.charging).lower(),
                status=2 if state.charging else 3,
                level=state.battery_percent,
                temperature=round(10 * state.battery_celsius),
            )
            call.say(text)
        case "thermalservice":
            call.say(THERMAL.format(status=state.thermal_status(), skin=state.skin_celsius))
        case other:
            call.complain(f"Can't find service: {other}")
            return 20
    return 0


def pm(call: Call) -> int:
    """`pm path PACKAGE`."""
    if call.words[2] not in call.phone.packages:
        return 1
    call.say(f"package:/data/app/{call.words[2]}/base.apk")
    return 0


def am(call: Call) -> int:
    """`am start [-W] -n COMPONENT --es request PATH` and `am force-stop PACKAGE`."""
    words = call.words[1:]
    if words[0] == "force-stop":
        call.phone.stop_app()
        return 0
    component = words[words.index("-n") + 1]
    call.say(f"Starting: Intent {{ cmp={component} (has extras) }}")
    if component.partition("/")[0] not in call.phone.packages:
        call.err += f"Error type 3\nError: Activity class {{{component}}} does not exist.\n".encode()
        return 1
    call.phone.start_app(words[words.index("request") + 1])
    call.say("Status: ok")
    return 0


def pidof(call: Call) -> int:
    name = call.words[1]
    if name != call.phone.running and not (name in call.phone.packages and call.phone.app_runs()):
        return 1
    call.say("4711")
    return 0


def logcat(call: Call) -> int:
    """`logcat -c` and `logcat -d -t N`."""
    if "-c" in call.words:
        call.phone.log.clear()
        return 0
    for line in call.phone.log[-int(call.words[call.words.index("-t") + 1]) :]:
        call.say(line)
    return 0


ANDROID: dict[str, Command] = {command.__name__: command for command in (getprop, dumpsys, pm, am, pidof, logcat)}
