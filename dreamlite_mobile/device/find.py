"""Which phone: the one attached, or the one named; everything else is refused by name with its mend."""

from adbutils import AdbClient, AdbError

from dreamlite_mobile.device.errors import (
    AdbServerError,
    DeviceError,
    NoPhoneError,
    OfflineError,
    SeveralPhonesError,
    UnauthorizedError,
)
from dreamlite_mobile.device.link import PATIENCE_S, Link
from dreamlite_mobile.errors import unknown_name

READY = "device"
_SERVER_ANSWERS_S = 30.0


def adb_client() -> AdbClient:
    """The server that ANDROID_ADB_SERVER_PORT names, or the usual one; started when it is not there."""
    return AdbClient(socket_timeout=_SERVER_ANSWERS_S)


def attached(client: AdbClient) -> dict[str, str]:
    """Serial -> state of everything the adb server knows; AdbServerError when there is no server."""
    try:
        return {found.serial: found.state for found in client.list()}
    except (AdbError, OSError, EOFError) as error:
        raise AdbServerError(
            f"the adb server on {client.host}:{client.port} does not answer ({error}). "
            "Install adb (Debian: apt install adb) and try `adb start-server`."
        ) from error


def find_phone(client: AdbClient, serial: str | None = None, patience_s: float = PATIENCE_S) -> Link:
    """The phone to use: the one that `serial` names, or the only one that is ready.

    Raises:
        AdbServerError, NoPhoneError, SeveralPhonesError, UnauthorizedError, OfflineError.
    """
    found = attached(client)
    if serial is not None:
        if serial not in found:
            raise NoPhoneError(f"--serial: {unknown_name('phone', serial, found)} `dreamlite devices` lists them.")
        chosen = serial
    else:
        chosen = only_one(found)
    if found[chosen] != READY:
        raise not_ready(chosen, found[chosen])
    return Link(client, chosen, patience_s)


def only_one(found: dict[str, str]) -> str:
    """The one that is ready, or the only one there is."""
    ready = [serial for serial, state in found.items() if state == READY] or list(found)
    if not ready:
        raise NoPhoneError(
            "no phone is attached. Connect one by USB with USB debugging switched on (Settings, Developer options), "
            "or by Wi-Fi with `adb pair` and `adb connect`."
        )
    if len(ready) > 1:
        raise SeveralPhonesError(f"{len(ready)} phones are attached: {', '.join(sorted(ready))}. Name one: --serial")
    return ready[0]


def not_ready(serial: str, state: str) -> DeviceError:
    """Why a phone in this state cannot be used."""
    if state == "unauthorized":
        return UnauthorizedError(
            f"{serial}: has not allowed this computer. Unlock it and tap Allow in the dialogue on its screen; if none "
            "shows, switch USB debugging off and on."
        )
    if state in ("offline", "connecting", "authorizing"):
        return OfflineError(
            f"{serial}: is {state}: adb knows it but it does not answer. Plug it in again, or `adb reconnect {serial}`."
        )
    return OfflineError(f"{serial}: is in state {state!r}, not {READY!r}. Start Android on it, or name another phone.")
