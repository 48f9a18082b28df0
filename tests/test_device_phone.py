"""Finding a phone and reading it, through a real adb server; every state of it is its own error with its mend."""

import shlex
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from adb_device.phone import Phone
from adb_device.server import PORT_VARIABLE, Adb, attached, free_port
from adb_device.state import XIAOMI_14
from adbutils import AdbClient
from small_bundle import write_bundle

from dreamlite_mobile.bundle import Bundle, open_bundle
from dreamlite_mobile.bundle_schema import HtpEntry
from dreamlite_mobile.device import facts
from dreamlite_mobile.device.conditions import cool_down, look
from dreamlite_mobile.device.errors import (
    AdbServerError,
    LinkLostError,
    NoPhoneError,
    OfflineError,
    SeveralPhonesError,
    UnauthorizedError,
    WrongPhoneError,
)
from dreamlite_mobile.device.facts import find_soc, read_facts, read_zones
from dreamlite_mobile.device.find import attached as attached_phones
from dreamlite_mobile.device.find import find_phone, not_ready
from dreamlite_mobile.device.link import Link
from dreamlite_mobile.device.match import check_phone, export_command


def test_the_only_phone_is_found(link: Link) -> None:
    assert find_phone(link.client).serial == link.serial


def test_no_phone_is_said_with_the_mend(adb: Adb) -> None:
    with pytest.raises(NoPhoneError, match="USB debugging"):
        find_phone(AdbClient(port=adb.port))


def test_an_unknown_serial_suggests_the_nearest(link: Link) -> None:
    with pytest.raises(NoPhoneError, match=f"Did you mean '{link.serial}'"):
        find_phone(link.client, f"{link.serial}0")


def test_two_phones_need_a_serial(adb: Adb, tmp_path: Path) -> None:
    with ExitStack() as stack:
        links = [stack.enter_context(attached(adb, Phone(tmp_path / name))) for name in ("one", "two")]
        with pytest.raises(SeveralPhonesError, match="2 phones are attached.*--serial"):
            find_phone(links[0].client)
        assert find_phone(links[0].client, links[1].serial).serial == links[1].serial


def test_an_unauthorised_phone_says_where_to_tap(adb: Adb, tmp_path: Path) -> None:
    with attached(adb, Phone(tmp_path / "phone", authorised=False)) as link:
        with pytest.raises(UnauthorizedError, match="tap Allow"):
            find_phone(link.client)


def test_an_offline_phone_is_to_be_plugged_in_again(adb: Adb, tmp_path: Path) -> None:
    import threading

    with Phone(tmp_path / "phone", silent=True).served() as serial:
        asking = threading.Thread(target=adb, args=("connect", serial))
        asking.start()
        client = AdbClient(port=adb.port)
        while serial not in attached_phones(client):
            asking.join(0.05)
        with pytest.raises(OfflineError, match="Plug it in again"):
            find_phone(client)
        adb("disconnect", serial)
    asking.join()


def test_another_state_is_named(tmp_path: Path) -> None:
    assert "recovery" in str(not_ready("x", "recovery"))


def test_a_server_that_is_not_adb_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/bin/true")
    with pytest.raises(AdbServerError, match="apt install adb"):
        attached_phones(AdbClient(port=free_port(), socket_timeout=2))


def test_facts_are_what_the_phone_says(link: Link) -> None:
    found = read_facts(link)
    assert (found.model, found.soc, found.soc_from) == ("Xiaomi 14, 23127PN0CC", "SM8650", "ro.soc.model")
    assert (found.android, found.sdk, found.abis) == ("14", 34, ("arm64-v8a",))
    assert found.ram_bytes == 11613136 * 1024 and 0 < found.free_bytes <= 1 << 30
    assert found.governors == {"policy0": "walt", "policy2": "walt", "policy7": "walt"}
    assert found.max_khz["policy7"] == 3302400 and found.emulated
    assert [(zone.name, zone.celsius) for zone in found.zones] == [("skin", 33.5), ("CPU0", 47.5)]


@pytest.mark.parametrize(
    ("properties", "machine", "expected"),
    [
        ({"ro.soc.model": "SM8650-AC"}, "", ("SM8650", "ro.soc.model")),
        ({"ro.soc.model": "kona", "ro.vendor.qti.soc_model": "SM8550"}, "", ("SM8550", "ro.vendor.qti.soc_model")),
        ({}, "SM8750P\n", ("SM8750", "/sys/devices/soc0/machine")),
        ({"ro.board.platform": "pineapple"}, "", ("SM8650", "guessed from ro.board.platform=pineapple")),
        ({"ro.soc.model": "Tensor G4"}, "", ("Tensor G4", "ro.soc.model")),
        ({}, "", (None, None)),
    ],
)
def test_the_chip_is_read_where_it_stands(properties: dict[str, str], machine: str, expected: tuple) -> None:
    assert find_soc(properties, machine) == expected


def test_zones_of_an_old_service_are_its_cached_ones() -> None:
    text = "Cached temperatures:\n Temperature{mValue=31.0, mType=3, mName=skin, mStatus=1}\n"
    assert [(zone.name, zone.status) for zone in read_zones(text)] == [("skin", 1)]


def htp_bundle(folder: Path, soc: str) -> Bundle:
    """A bundle whose manifest says it is for a Snapdragon; nothing of it is run."""
    opened = open_bundle(write_bundle(folder / "bundle"))
    htp = HtpEntry(soc=soc, chipset=57, architecture="V75", vtcm_mb=8, qnn_build="v2.49", shared_weights=True)
    manifest = opened.manifest.model_copy(update={"backend": "qnn", "target": soc, "htp": htp})
    return replace(opened, manifest=manifest)


def test_a_bundle_for_the_phones_chip_is_taken(link: Link, tmp_path: Path) -> None:
    check_phone(htp_bundle(tmp_path, "SM8650"), read_facts(link))


def test_a_bundle_for_another_chip_names_the_right_command(link: Link, tmp_path: Path) -> None:
    with pytest.raises(WrongPhoneError, match=r"compiled for SM8550.*Snapdragon 8 Gen 3.*--backend qnn --soc SM8650"):
        check_phone(htp_bundle(tmp_path, "SM8550"), read_facts(link))


def test_the_command_is_safe_in_a_shell_and_keeps_the_precision(link: Link, tmp_path: Path) -> None:
    """Oracle: the words that a shell would make of it."""
    bundle = htp_bundle(tmp_path, "SM8550")
    evil = "my $(reboot); model's"
    source = bundle.manifest.checkpoint.model_copy(update={"source": evil})
    parts = {name: part.model_copy(update={"precision": "w8a16"}) for name, part in bundle.manifest.components.items()}
    parts["vae_decoder"] = parts["vae_decoder"].model_copy(update={"precision": "fp16"})
    manifest = bundle.manifest.model_copy(update={"checkpoint": source, "components": parts})
    words = shlex.split(export_command(manifest, read_facts(link)))
    assert words[:3] == ["dreamlite", "export", evil]
    assert (
        words[words.index("--precision") + 1] == "w8a16,vae_decoder=fp16"
        and words[words.index("--soc") + 1] == "SM8650"
    )


def test_a_chip_outside_the_table_gets_the_cpu(link: Link, phone: Phone, tmp_path: Path) -> None:
    phone.state.properties["ro.soc.model"] = "MT6989"
    with pytest.raises(WrongPhoneError, match="MT6989.*SM8650.*--backend xnnpack"):
        check_phone(htp_bundle(tmp_path, "SM8650"), read_facts(link))


def test_a_bundle_for_iphones_is_refused(link: Link, tmp_path: Path) -> None:
    opened = open_bundle(write_bundle(tmp_path / "bundle"))
    manifest = opened.manifest.model_copy(update={"backend": "coreml", "target": "ios18"})
    with pytest.raises(WrongPhoneError, match="coreml.*dreamlite export tiny .*--backend xnnpack --size 96x64"):
        check_phone(replace(opened, manifest=manifest), read_facts(link))


def test_a_phone_without_64_bits_is_refused(link: Link, phone: Phone, tmp_path: Path) -> None:
    phone.state.properties["ro.product.cpu.abilist"] = "armeabi-v7a"
    with pytest.raises(WrongPhoneError, match="armeabi-v7a.*arm64-v8a"):
        check_phone(open_bundle(write_bundle(tmp_path / "bundle")), read_facts(link))


def test_conditions_are_heat_battery_and_company(link: Link, phone: Phone) -> None:
    phone.state.thermal, phone.state.charging, phone.state.busy = [2], True, 0.6
    seen = look(link, 0)
    assert (seen.conditions.thermal_status, seen.conditions.charging, seen.powered) == (2, True, True)
    assert (seen.conditions.battery_percent, seen.conditions.battery_celsius) == (83, 31.0)
    assert seen.busy_share == pytest.approx(0.6, abs=0.01)


def test_cooling_down_ends_with_the_status_at_rest(link: Link, phone: Phone) -> None:
    phone.state.thermal = [2, 1, 0]
    waited, cooled = cool_down(link, 0, 30, 0.01)
    assert cooled and waited < 5 and phone.state.thermal == [0]


def test_cooling_down_ends_with_its_limit(link: Link, phone: Phone) -> None:
    phone.state.thermal = [3]
    waited, cooled = cool_down(link, 0, 0.3, 0.05)
    assert not cooled and 0.3 <= waited < 3


def test_a_silent_shell_is_a_lost_link_in_bounded_time(link: Link, phone: Phone) -> None:
    phone.stuck_shell = 20
    with pytest.raises(LinkLostError, match="was lost during `getprop`"):
        link.shell("getprop", patience_s=0.5)


def test_devices_lists_what_is_attached(run, adb: Adb, link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PORT_VARIABLE, str(adb.port))
    found = run("devices", "--json")
    assert [phone["soc"] for phone in found.data["phones"]] == [XIAOMI_14["ro.soc.model"]]
    assert "SM8650" in run("devices").out


def test_devices_tells_the_battery(run, adb: Adb, link: Link, phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PORT_VARIABLE, str(adb.port))
    phone.state.charging = True
    (found,) = run("devices", "--json").data["phones"]
    assert found["state"]["conditions"]["battery_percent"] == 83 and found["state"]["powered"]
    assert "83%, charging" in run("devices").out


def test_a_phone_that_is_lost_does_not_hide_the_other(
    run, adb: Adb, link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one lost is dead at its first question."""
    monkeypatch.setenv(PORT_VARIABLE, str(adb.port))
    other = Phone(tmp_path / "other")
    with attached(adb, other) as dead:
        ask = facts.read_facts

        def lost(asked: Link) -> facts.PhoneFacts:
            if asked.serial == dead.serial:
                raise LinkLostError(f"{asked.serial}: the link was lost")
            return ask(asked)

        monkeypatch.setattr(facts, "read_facts", lost)
        found = run("devices", "--json")
        assert found.code == 0 and [one["serial"] for one in found.data["phones"]] == [link.serial]
        assert found.data["lost"] == {dead.serial: f"{dead.serial}: the link was lost"}
        assert f"{dead.serial}: the link was lost" in run("devices").err


def test_devices_says_that_none_is_attached(run, adb: Adb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PORT_VARIABLE, str(adb.port))
    found = run("devices")
    assert found.code == 1 and "no phone is attached" in found.err
