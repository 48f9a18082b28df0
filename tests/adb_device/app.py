"""The benchmark entry of the app: reads a request, runs the very bundle that was pushed, writes the result.

It runs on this machine, through the same `Session` as `dreamlite generate`: the times are this machine's.
"""

import hashlib
import io
import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from dreamlite_mobile.bundle import Bundle, open_bundle
from dreamlite_mobile.components import FORWARD, SIZED, TWO_METHODS, component_specs
from dreamlite_mobile.device.schema import RunRequest
from dreamlite_mobile.errors import DreamLiteError
from dreamlite_mobile.images import load_image, parse_size
from dreamlite_mobile.measure import peak_resident_bytes
from dreamlite_mobile.noise import initial_latents
from dreamlite_mobile.pipeline import LOADING, Pipeline, Stages, finish
from dreamlite_mobile.runtime.session import Session

if TYPE_CHECKING:
    from adb_device.phone import Phone


def native(bundle: Bundle) -> Bundle:
    """A phone runs what was compiled for its chip like any other program; the check of the chip came before."""
    if bundle.manifest.backend != "qnn":
        return bundle
    manifest = bundle.manifest.model_copy(update={"backend": "xnnpack", "target": "cpu", "htp": None})
    return replace(bundle, manifest=manifest)


class Entry(threading.Thread):
    """One process of the app."""

    def __init__(self, phone: "Phone", request: str) -> None:
        super().__init__(daemon=True)
        self.phone, self.path, self.stopped = phone, request, threading.Event()
        self.jump = 0.0

    def run(self) -> None:
        """Until done, stopped, or crashed as the test asks."""
        faults = self.phone.faults
        if faults.crash:
            self.phone.log.append("11-23 21:00:01.000 4711 4711 F libc    : Fatal signal 11 (SIGSEGV), code 1")
            self.phone.log.append("11-23 21:00:01.001 4711 4711 E AndroidRuntime: Process: dreamlite.app, PID: 4711")
            return
        if faults.hang:
            self.phone.log.append("11-23 21:00:01.000 4711 4711 I DreamLite: loading unet")
            self.stopped.wait()
            return
        request = RunRequest.model_validate_json(self.phone.read(self.path) or b"")
        try:
            answer = self.answer(request)
        except DreamLiteError as error:
            answer = {"problem": str(error), "begin": self.clock(), "end": self.clock()}
        if not self.stopped.is_set():
            self.write(request, {**self.head(request), **answer})

    def answer(self, request: RunRequest) -> dict[str, Any]:
        """What the runs gave."""
        import dreamlite_mobile.runtime.executorch  # noqa: F401  an app has its runtime linked in: no load time

        size = None if request.size is None else parse_size(request.size)
        bundle = native(open_bundle(self.phone.storage.host(request.bundle)).at(size))
        begin, before = self.clock(), self.conditions()
        with Session(bundle, request.threads) as session:
            pipeline = session.pipeline()
            load = list(self.load(session, request))
            samples = list(self.samples(pipeline, request))
        self.jump = self.phone.faults.clock_jump
        name = "picture.png"
        data = self.picture_data
        self.phone.storage.write(f"{request.out}/{name}", data)
        return {
            "begin": begin,
            "end": self.clock(),
            "before": before,
            "load": load,
            "samples": samples,
            "peak_pss_bytes": peak_resident_bytes(),
            "picture": {"file": name, "sha256": hashlib.sha256(data).hexdigest()},
        }

    def load(self, session: Session, request: RunRequest) -> Any:
        """Every component of the mode, as the pipeline will use it."""
        from dreamlite_mobile.bundle_checks import geometry

        for name in component_specs(geometry(session.bundle.manifest), [request.mode]):
            method = request.mode if name in TWO_METHODS else FORWARD
            method += session.bundle.suffix if name in SIZED else ""
            began = time.perf_counter()
            component: Any = session.component(name)
            component.load(method)
            yield {"component": name, "method": method, "ms": self.passed(began)}

    def samples(self, pipeline: Pipeline, request: RunRequest) -> Any:
        """The first run, warm-up runs, timed runs."""
        began = time.perf_counter()
        kinds = ["first", *["warm_up"] * request.warm_up, *["timed"] * request.runs]
        for kind in kinds:
            yield self.sample(pipeline, request, kind)
        while request.sustain_s is not None and time.perf_counter() - began < request.sustain_s:
            yield self.sample(pipeline, request, "timed")

    def sample(self, pipeline: Pipeline, request: RunRequest, kind: str) -> dict[str, Any]:
        """One picture."""
        if self.stopped.is_set():
            raise DreamLiteError("stopped")
        stages, steps = Stages(), []
        begin_ms, began = self.clock()["monotonic_ms"], time.perf_counter()
        seed = request.seed + 1 if self.phone.faults.wrong_picture else request.seed
        latents = initial_latents(seed, pipeline.latents_shape)
        if request.picture is None:
            run = pipeline.generate(request.prompt, latents, request.steps, stages)
        else:
            source = load_image(Path(self.phone.storage.host(request.picture.file)))
            run = pipeline.edit(source, request.prompt, latents, request.steps, stages)
        result = finish(run, lambda step: steps.append(step.seconds))
        time.sleep(self.phone.faults.slow)
        total_ms = self.passed(began)
        if kind == "first":
            self.keep(result.picture)
        scale = 1000 * self.phone.faults.drift
        return {
            "kind": kind,
            "begin_ms": begin_ms,
            "total_ms": total_ms,
            "stages": {name: scale * taken for name, taken in stages.seconds.items() if name != LOADING},
            "steps_ms": [scale * taken for taken in steps],
            "conditions": self.conditions(),
            "cpu_khz": [2265600, 3148800, 3302400],
        }

    def keep(self, picture: Image.Image) -> None:
        """As PNG; the link may go now."""
        stream = io.BytesIO()
        picture.save(stream, format="PNG")
        self.picture_data = stream.getvalue()
        if self.phone.faults.cut_in_run:
            self.phone.faults.cut_in_run = False
            self.phone.faults.cut()

    def write(self, request: RunRequest, answer: dict[str, Any]) -> None:
        """The result, then its digest as the marker."""
        data = json.dumps({**answer, "after": self.conditions()}).encode()
        data = self.phone.faults.edit(data) if self.phone.faults.edit is not None else data
        digest = hashlib.sha256(data).hexdigest()
        if self.phone.faults.result is not None:
            data = self.phone.faults.result(data)
        self.phone.storage.write(f"{request.out}/result.json", data)
        self.phone.storage.write(f"{request.out}/done", digest.encode())

    def head(self, request: RunRequest) -> dict[str, Any]:
        """What every answer repeats."""
        return {
            "version": 1,
            "id": request.id,
            "bundle_sha256": hashlib.sha256(self.phone.read(f"{request.bundle}/manifest.json") or b"").hexdigest(),
            "mode": request.mode,
            "seed": request.seed,
            "steps": request.steps,
            "app": {"app": "0.1.0-emulated", "executorch": "1.5.1"},
            "before": self.conditions(),
        }

    def clock(self) -> dict[str, float]:
        """Both clocks."""
        return {
            "monotonic_ms": 1000 * self.phone.faults.drift * time.perf_counter(),
            "wall_ms": 1000 * (time.time() + self.jump),
        }

    def passed(self, began: float) -> float:
        """Milliseconds by the phone's clock."""
        return 1000 * self.phone.faults.drift * (time.perf_counter() - began)

    def conditions(self) -> dict[str, Any]:
        """As the app sees them."""
        state = self.phone.state
        return {
            "thermal_status": state.thermal_status(),
            "charging": state.charging,
            "battery_percent": state.battery_percent,
            "battery_celsius": state.battery_celsius,
        }
