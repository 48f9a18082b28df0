"""One run request through the app: started by an intent, awaited by its marker, its result checked and pulled.

Whatever goes wrong ends within the limit, in an error that carries the end of the phone's log.
"""

import contextlib
import hashlib
import io
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from pydantic import ValidationError

from dreamlite_mobile.bundle_files import describe
from dreamlite_mobile.device import sync
from dreamlite_mobile.device.clean import clean_folder
from dreamlite_mobile.device.company import WINDOW_S, Company
from dreamlite_mobile.device.errors import (
    AppCrashError,
    AppMissingError,
    AppRefusedError,
    AppTimeoutError,
    DeviceError,
    DigestError,
    LinkLostError,
    ResultError,
)
from dreamlite_mobile.device.link import Link, quoted
from dreamlite_mobile.device.places import ACTIVITY, APP, REQUESTS
from dreamlite_mobile.device.plausible import check_answer, check_clock
from dreamlite_mobile.device.push import local_file, push_files
from dreamlite_mobile.device.schema import RunRequest, RunResult
from dreamlite_mobile.images import png_bytes

RESULT_LIMIT = 64 << 20
PICTURE_LIMIT = 64 << 20
DIGEST_LENGTH = 64
LOG_LINES = 200
SHOWN_LOG_LINES = 12
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Answer:
    """The result, its picture, how long it took as seen from here, what others used of the CPUs meanwhile."""

    result: RunResult
    picture: Image.Image
    elapsed_s: float
    others_share: float | None


@dataclass(frozen=True, slots=True)
class App:
    """The app on one phone.

    `limit_s`: how long one request may take; `start_s`: until it must have a process; `watch_s`: between looks at what
    else the phone does.
    """

    link: Link
    limit_s: float
    package: str = APP
    activity: str = ACTIVITY
    poll_s: float = _POLL_S
    start_s: float = 20.0
    watch_s: float = WINDOW_S
    come_back_s: float = 30.0

    def check_installed(self) -> None:
        """AppMissingError without the app."""
        if self.link.shell(f"pm path {quoted(self.package)}").code != 0:
            raise AppMissingError(
                f"{self.link.serial}: {self.package} is not installed. Build it (android_app/README.md) and install it "
                "with `adb install -r APK`, or measure components with --runner."
            )

    def run(self, request: RunRequest, tell: Callable[[str], None] = lambda _: None) -> Answer:
        """Start the app anew, wait for it, read what it made.

        Raises:
            AppCrashError, AppTimeoutError, AppRefusedError: with the end of the log. ResultError, DigestError: what
            came back cannot be trusted. ClockError: it claims more time than passed. LinkLostError.
            An interrupted wait stops the app.
        """
        self.stop()
        path = self.place(request)
        begin = time.monotonic()
        started = self.link.shell(f"am start -W -n {quoted(self.activity)} --es request {quoted(path)}")
        if started.code != 0 or "Error" in started.out + started.err:
            raise self.failure(AppMissingError, f"cannot be started: {(started.err or started.out).strip()}")
        try:
            others_share = self.wait(request, begin, tell)
        except (KeyboardInterrupt, SystemExit):
            with contextlib.suppress(DeviceError):
                self.stop()
            raise
        elapsed = time.monotonic() - begin
        result = self.read(request)
        check_clock(self.link.serial, result, elapsed)
        picture = self.picture(request, result)
        self.stop()
        clean_folder(self.link, request_folder(request.id))
        self.link.shell(f"rm -rf {quoted(request.out)}")
        return Answer(result, picture, elapsed, others_share)

    def place(self, request: RunRequest) -> str:
        """The request onto the phone, and an empty place for what it makes; the request's path."""
        text = request.model_dump_json(indent=2) + "\n"
        self.link.checked(f"rm -rf {quoted(request.out)} && mkdir -p {quoted(request.out)}")
        path, _ = push_bytes(self.link, request_folder(request.id), "request.json", text.encode())
        self.link.shell("logcat -c")
        return path

    def wait(self, request: RunRequest, begin: float, tell: Callable[[str], None]) -> float | None:
        """Until the marker is there; a lost link is waited for, the app goes on without it.

        Returns the most that other processes used of all CPUs meanwhile.
        """
        done, company = f"{request.out}/done", Company(self.link, self.watch_s)
        while True:
            left = self.limit_s - (time.monotonic() - begin)
            try:
                if self.is_done(done):
                    return company.share
                pids = self.link.shell(f"pidof {quoted(self.package)}").out.split()
                if pids and pids[0].isdigit():
                    company.look(pids[0])
                # It may not have a process yet, or have finished between the two questions.
                elif self.is_late(begin, company) and not self.is_done(done):
                    raise self.failure(AppCrashError, "ended before it was done")
            except LinkLostError:
                if left <= 0:
                    raise
                self.link.come_back(min(left, self.come_back_s), tell)
            if left <= 0:
                error = self.failure(AppTimeoutError, f"was not done after {self.limit_s:g} s and was stopped")
                self.stop()
                raise error
            time.sleep(min(self.poll_s, max(left, 0.0)))

    def is_late(self, begin: float, company: Company) -> bool:
        """Whether an app without a process has had one, as was seen or as its log says, or the time to get one."""
        if company.looked > 0 or time.monotonic() - begin > self.start_s:
            return True
        log = self.link.shell(f"logcat -d -t {LOG_LINES} 2>&1").out
        return re.search(rf"(Process:? |Start proc \d+:){re.escape(self.package)}\b", log) is not None

    def is_done(self, marker: str) -> bool:
        """Whether the marker is whole: a digest may arrive in parts."""
        return (sync.size_of(self.link, marker) or 0) >= DIGEST_LENGTH

    def read(self, request: RunRequest) -> RunResult:
        """The result, if it is whole and answers the request."""
        where = f"{self.link.serial}: {request.out}/result.json"
        expected = sync.receive(self.link, f"{request.out}/done", 100).decode(errors="replace").strip()
        data = sync.receive(self.link, f"{request.out}/result.json", RESULT_LIMIT)
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise ResultError(f"{where}: sha256 is {found}, the app's marker says {expected!a}. Run it again.")
        try:
            result = RunResult.model_validate_json(data)
        except ValidationError as error:
            raise ResultError(
                f"{where}: is no result of version 1: {describe(error)}. Install the app of this version."
            ) from error
        if result.id == request.id and result.problem is not None:
            raise self.failure(AppRefusedError, f"refused: {result.problem}")
        check_answer(where, request, result)
        return result

    def picture(self, request: RunRequest, result: RunResult) -> Image.Image:
        """The PNG that the first run drew."""
        assert result.picture is not None
        where = f"{self.link.serial}: {request.out}/{result.picture.file}"
        data = sync.receive(self.link, f"{request.out}/{result.picture.file}", PICTURE_LIMIT)
        if hashlib.sha256(data).hexdigest() != result.picture.sha256:
            raise DigestError(f"{where}: has another sha256 than the result says. Run it again.")
        try:
            return Image.open(io.BytesIO(data), formats=("PNG",)).convert("RGB")
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            raise ResultError(f"{where}: is no picture ({error})") from error

    def stop(self) -> None:
        """No process of the app is left, so that the next start is a cold one."""
        self.link.shell(f"am force-stop {quoted(self.package)}")

    def failure(self, kind: type[DeviceError], what: str) -> DeviceError:
        """An error with the end of the log, as far as it can still be read."""
        try:
            printed = self.link.shell(f"logcat -d -t {LOG_LINES}").out.strip()
        except LinkLostError:
            printed = ""
        tail = "\n".join(f"  {line}" for line in printed.splitlines()[-SHOWN_LOG_LINES:])
        return kind(f"{self.link.serial}: {self.package} {what}.\n{tail or '  (its log is empty)'}")


def push_bytes(link: Link, folder: str, name: str, data: bytes) -> tuple[str, str]:
    """A small file onto the phone; its path and digest there."""
    with tempfile.TemporaryDirectory(prefix="dreamlite-push-") as here:
        path = Path(here, name)
        path.write_bytes(data)
        wanted = local_file(path, name)
        push_files(link, folder, [wanted])
    return f"{folder}/{name}", wanted.sha256


def push_picture(link: Link, source: Image.Image) -> tuple[str, str]:
    """The picture of an edit as PNG onto the phone; its path and digest there."""
    data = png_bytes(source)
    return push_bytes(link, request_folder("sources"), f"{hashlib.sha256(data).hexdigest()[:16]}.png", data)


def request_folder(name: str) -> str:
    """Where one request lies."""
    return f"{REQUESTS}/{name}"
