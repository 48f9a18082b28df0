"""One run request through the emulated phone's app: what comes back, and every way it can go wrong, in bounded time."""

import json
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from adb_device.phone import Phone
from adb_device.shell import Call
from bundles import exported

from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.device.app_run import App
from dreamlite_mobile.device.conditions import look
from dreamlite_mobile.device.errors import (
    AppCrashError,
    AppMissingError,
    AppRefusedError,
    AppTimeoutError,
    ClockError,
    DeviceError,
    DigestError,
    LinkLostError,
    ResultError,
)
from dreamlite_mobile.device.flags import round_flags
from dreamlite_mobile.device.link import Link
from dreamlite_mobile.device.places import APP, bundle_folder, output_folder
from dreamlite_mobile.device.push import manifest_sha256
from dreamlite_mobile.device.report import Round
from dreamlite_mobile.device.schema import RunRequest
from dreamlite_mobile.noise import initial_latents
from dreamlite_mobile.pipeline import finish
from dreamlite_mobile.runtime.session import Session

LIMIT_S = 60.0


@pytest.fixture
def phone(phone: Phone) -> Phone:
    """With the bundle on it: how it came there is another test's business."""
    place = phone.storage.host(bundle_folder(manifest_sha256(open_bundle(exported("fp32"), verify="quick"))))
    place.parent.mkdir(parents=True)
    place.symlink_to(exported("fp32"))
    return phone


@pytest.fixture
def app(link: Link) -> App:
    return App(link, LIMIT_S, poll_s=0.05, start_s=0.2, watch_s=0.0, come_back_s=10)


def request_for(**changes: object) -> RunRequest:
    sha256 = manifest_sha256(open_bundle(exported("fp32"), verify="quick"))
    place = output_folder(APP, "generate-1")
    values = {
        "id": "generate-1", "bundle": bundle_folder(sha256), "bundle_sha256": sha256, "mode": "generate",
        "prompt": "a red circle", "seed": 7, "steps": 1, "warm_up": 0, "runs": 2, "out": place,
    }  # fmt: skip
    return RunRequest.model_validate({**values, **changes})


def failing(app: App, kind: type[DeviceError], match: str, limit_s: float = LIMIT_S) -> None:
    """The request ends in this error, before the limit and not long after it."""
    begin = time.monotonic()
    with pytest.raises(kind, match=match):
        app.run(request_for())
    assert time.monotonic() - begin < limit_s + 15


def test_the_app_draws_what_the_host_draws(app: App, phone: Phone) -> None:
    answer = app.run(request_for())
    assert [sample.kind for sample in answer.result.samples] == ["first", "timed", "timed"]
    assert {load.component for load in answer.result.load} == {"text_encoder", "unet", "vae_decoder"}
    with Session(open_bundle(exported("fp32"), verify="quick")) as session:
        pipeline = session.pipeline()
        expected = finish(pipeline.generate("a red circle", initial_latents(7, pipeline.latents_shape), 1)).picture
    np.testing.assert_array_equal(np.asarray(answer.picture), np.asarray(expected))
    assert not phone.app_runs() and not phone.storage.host(output_folder(APP, "generate-1")).exists()


def test_a_sustained_run_goes_on_for_its_time(app: App) -> None:
    result = app.run(request_for(runs=1, sustain_s=1.5)).result
    timed = result.timed
    assert len(timed) > 1 and timed[-1].begin_ms + timed[-1].total_ms - result.samples[0].begin_ms >= 1500


def test_a_link_cut_in_a_run_is_waited_for(app: App, phone: Phone) -> None:
    phone.faults.cut_in_run = True
    assert len(app.run(request_for()).result.timed) == 2
    assert not phone.faults.cut_in_run


def test_a_link_that_stays_cut_in_a_run_is_an_error(app: App, phone: Phone) -> None:
    def cut() -> None:
        phone.reachable = False
        phone.cut()

    phone.faults.cut, phone.faults.cut_in_run = cut, True
    object.__setattr__(app, "come_back_s", 1)
    failing(app, LinkLostError, "did not come back within")


def test_a_crash_carries_the_end_of_the_log(app: App, phone: Phone) -> None:
    """At once, though no process was ever seen: the log tells of one."""
    phone.faults.crash = True
    object.__setattr__(app, "start_s", 60.0)
    begin = time.monotonic()
    failing(app, AppCrashError, r"(?s)ended before it was done.*SIGSEGV")
    assert time.monotonic() - begin < 30


def test_an_app_that_dies_after_a_while_is_noticed_at_once(app: App, phone: Phone) -> None:
    """Not after the time that one may take to get a process."""
    phone.faults.hang = True
    object.__setattr__(app, "start_s", 60.0)

    def die() -> None:
        while not phone.app_runs():
            time.sleep(0.05)
        time.sleep(1.0)
        phone.app.stopped.set()

    threading.Thread(target=die, daemon=True).start()
    begin = time.monotonic()
    failing(app, AppCrashError, "ended before it was done")
    assert time.monotonic() - begin < 30


def test_an_app_of_several_processes_is_alive(app: App, phone: Phone) -> None:
    """`pidof` names them all in one line."""

    def pidof(call: Call) -> int:
        call.say("4711 4712" if phone.app_runs() else "")
        return 0 if phone.app_runs() else 1

    phone.commands["pidof"] = pidof
    object.__setattr__(app, "start_s", 0.0)
    assert len(app.run(request_for()).result.timed) == 2


def test_a_marker_that_arrives_in_parts_is_waited_for(app: App, phone: Phone) -> None:
    """Half of a digest lies there a moment before the whole."""
    write, seen = phone.storage.write, []

    def in_parts(path: str, data: bytes) -> None:
        if path.endswith("/done"):
            write(path, data[:20])
            seen.append(path)
            time.sleep(0.4)
        write(path, data)

    phone.storage.write = in_parts
    assert len(app.run(request_for()).result.timed) == 2 and seen


def test_an_app_that_starts_late_is_no_crash(app: App, phone: Phone) -> None:
    phone.faults.late = 1.0
    object.__setattr__(app, "start_s", 5.0)
    assert len(app.run(request_for()).result.timed) == 2


@pytest.mark.parametrize(("storm", "flagged"), [(0.0, False), (0.5, True)])
def test_a_storm_while_it_runs_is_flagged(app: App, phone: Phone, storm: float, flagged: bool) -> None:
    """The app's own 40 % of the CPUs are no storm; what others add while it runs is one, though all is calm around."""
    phone.state.storm = storm
    seen, answer = look(app.link, 0), app.run(request_for(steps=4, runs=100))
    one = Round(
        before=seen, result=answer.result, after=seen, others_share=answer.others_share, cooled_s=0, cooled=True
    )
    assert answer.others_share == pytest.approx(0.02 + storm, abs=0.02)
    flags = [flag.text for flag in round_flags(1, one) if flag.kind == "background"]
    assert flags == (["round 1: while it ran, other processes used up to 52% of the CPUs"] if flagged else [])


def test_a_phone_that_hides_other_processes_says_nothing(app: App, phone: Phone) -> None:
    phone.hidden.add("/proc/4711/stat")
    assert app.run(request_for()).others_share is None


def test_an_app_that_never_answers_is_stopped(app: App, phone: Phone) -> None:
    phone.faults.hang = True
    object.__setattr__(app, "limit_s", 0.5)
    failing(app, AppTimeoutError, r"(?s)was not done after 0.5 s.*loading unet", 0.5)
    assert not phone.app_runs()


def test_ctrl_c_stops_the_app(app: App, phone: Phone) -> None:
    """Or it would work on, and heat the phone, for as long as it was asked to."""

    def interrupt(*_: object) -> None:
        assert phone.app_runs()
        raise KeyboardInterrupt

    phone.faults.hang = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(App, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            app.run(request_for())
    assert not phone.app_runs()


def test_an_app_that_is_not_installed_is_said(app: App, phone: Phone) -> None:
    phone.packages = ()
    with pytest.raises(AppMissingError, match="adb install"):
        app.check_installed()
    failing(app, AppMissingError, "cannot be started")


def test_what_the_app_refuses_is_passed_on(app: App, phone: Phone) -> None:
    with pytest.raises(AppRefusedError, match="no such folder"):
        app.run(request_for(bundle=f"{bundle_folder('0' * 64)}"))


def edited(change: Callable[[dict], object]) -> Callable[[bytes], bytes]:
    """A result with something changed in its JSON, and a marker that still fits."""

    def apply(data: bytes) -> bytes:
        document = json.loads(data)
        change(document)
        return json.dumps(document).encode()

    return apply


def test_a_corrupt_result_is_not_read(app: App, phone: Phone) -> None:
    phone.faults.result = lambda data: data.replace(b'"seed": 7', b'"seed": 8')
    failing(app, ResultError, "the app's marker says")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda document: document.update(surprise=1), "Extra inputs"),
        (lambda document: document.update(version=2), "version"),
        (lambda document: document.update(seed=8), "answers seed 8, asked was 7"),
        (lambda document: document["samples"].pop(), "1 timed runs, asked were 2"),
        (lambda document: document["samples"][1].update(total_ms=-1.0), "greater than 0"),
        (lambda document: document["samples"][1]["stages"].update(unet=1e6), "stages take"),
        (lambda document: document["samples"][1].update(begin_ms=0.0), "runs overlap"),
        (lambda document: document["samples"].reverse(), "one first run"),
    ],
)
def test_a_result_that_contradicts_itself_is_refused(
    app: App, phone: Phone, change: Callable[[dict], object], match: str
) -> None:
    phone.faults.edit = edited(change)
    failing(app, ResultError, match)


def test_a_result_that_is_no_json_is_refused(app: App, phone: Phone) -> None:
    phone.faults.edit = lambda data: data[: len(data) // 2]
    failing(app, ResultError, "is no result of version 1")


def test_a_picture_that_changed_on_the_way_is_refused(app: App, phone: Phone) -> None:
    digest = {"file": "picture.png", "sha256": "0" * 64}
    phone.faults.edit = edited(lambda document: document.update(picture=digest))
    failing(app, DigestError, "another sha256")


def test_a_clock_that_runs_wrong_is_refused(app: App, phone: Phone) -> None:
    phone.faults.drift = 50.0
    failing(app, ClockError, "its clock runs wrong")


def test_a_clock_that_jumped_within_the_process_is_refused(app: App, phone: Phone) -> None:
    def jump(document: dict) -> None:
        document["end"]["monotonic_ms"] = document["begin"]["monotonic_ms"] - 5000

    phone.faults.edit = edited(jump)
    failing(app, ClockError, "its clock jumped")


def test_a_jump_of_the_time_of_day_is_flagged(app: App, phone: Phone) -> None:
    phone.faults.clock_jump = 3600.0
    answer, seen = app.run(request_for()), look(app.link, 0)
    one = Round(before=seen, result=answer.result, after=seen, cooled_s=0, cooled=True)
    assert "the time of day jumped by +3600" in next(flag.text for flag in round_flags(1, one) if flag.kind == "clock")
