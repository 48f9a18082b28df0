"""`export-matrix`: what a file may say, what cells share, and that killed workers change nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bundles import SIZE
from checkpoint_files import tiny_checkpoint

from benchmarks.resumed_export import digests
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.errors import ExportError
from export import cluster
from export.cluster import Place, Run
from export.driver import ExportRequest, plan_export, run_export
from export.graph import Task
from export.memory import descendants

KILLS = 3
DRAWN = {"sizes": [SIZE], "components": ["vae_decoder"], "modes": ["generate"]}
BOTH = {"backends": ["onnx", "xnnpack"], "precisions": {"xnnpack": ["fp32", "w8"]}}


def matrix(folder: Path, **said: object) -> Path:
    """A file that says so, in TOML's inline form, which for these values is JSON's but for the colon."""

    def toml(value: object) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + "}"
        return json.dumps(value)

    whole = {"checkpoints": [str(tiny_checkpoint())], "backends": ["onnx"]} | DRAWN | said
    file = folder / "matrix.toml"
    file.write_text("\n".join(f"{key} = {toml(value)}" for key, value in whole.items()))
    return file


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"precission": ["w8"]},
            "unknown key 'precission'; known: backends, checkpoints, components, embeddings, modes,",
        ),
        ({"precission": ["w8"]}, "Did you mean 'precisions'?"),
        ({"backends": ["onx"]}, "unknown backend 'onx'; known: coreml, onnx, qnn, xnnpack. Did you mean 'onnx'?"),
        ({"backends": []}, "backends: Tuple should have at least 1 item"),
        ({"precisions": ["w88"]}, "unknown precision 'w88'"),
        ({"precisions": {"qnn": ["fp16"]}}, "unknown backend 'qnn'; known: onnx"),
        ({"sizes": ["64x"]}, "size '64x': not a size"),
        ({"sizes": [[SIZE, "64x"]]}, "size '64x': not a size"),
        ({"embeddings": "int4"}, "embeddings: Input should be 'stored', 'fp16' or 'int8'"),
        ({"backends": ["coreml"], "precompute_prefix": True}, "precompute-prefix: coreml programs with a precomputed"),
        ({"sizes": [[SIZE, SIZE]]}, "size 64x64 is named twice"),
        ({"socs": ["SM8650"]}, "socs SM8650: only qnn files are for one chip"),
        ({"backends": ["qnn"], "socs": ["SM8651"]}, "unknown SoC 'SM8651'"),
        ({"skip_unsupported": "yes"}, "skip_unsupported: Input should be a valid boolean"),
        (
            {"backends": ["onnx", "coreml"], "precisions": ["fp16"]},
            "-onnx-fp16-64x64: precision: vae_decoder cannot be",
        ),
        ({"sizes": [SIZE, 100]}, "1 of 2 cells cannot be made"),
    ],
)
def test_what_cannot_be_is_refused_before_work(run, tmp_path: Path, said: dict[str, Any], message: str) -> None:
    found = run("export-matrix", matrix(tmp_path, **said), "--out", tmp_path / "out", "--dry-run")
    assert found.code == 1 and message in " ".join(found.err.split()), found.err
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_none_is_refused(run, tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("sizes = [")
    for name, message in (("broken.toml", "is no TOML"), ("missing.toml", "cannot be read")):
        found = run("export-matrix", tmp_path / name, "--out", tmp_path / "out")
        assert found.code == 1 and message in found.err


def test_components_that_cells_share_are_made_once(run, tmp_path: Path) -> None:
    """w8 leaves the autoencoder in fp32. Core ML cannot do w8 or fp32 there, which the file lets it skip."""
    file = matrix(tmp_path, backends=["onnx", "xnnpack", "coreml"], precisions=["fp32", "w8"], skip_unsupported=True)
    found = run("export-matrix", file, "--out", tmp_path / "out", "--dry-run", "--json")
    assert found.code == 0 and not (tmp_path / "out").exists()
    pieces = {task["task"]: task["for"] for task in found.data["tasks"] if task["for"]}
    label = tiny_checkpoint().name
    assert pieces["vae_decoder tiny xnnpack fp32 64x64"] == [f"{label}-xnnpack-{name}-64x64" for name in ("fp32", "w8")]
    bundles = [task for task in found.data["tasks"] if not task["for"]]
    assert len(pieces) + len(bundles) + len(found.data["skipped"]) == len({*pieces}) + 6
    assert all("cannot be" in reason for reason in found.data["skipped"].values())


def test_a_list_among_the_sizes_is_one_bundle_of_them(run, tmp_path: Path) -> None:
    """And what is asked of tables and prefixes is in what a bundle is known by."""

    def tasks(**said: object) -> dict[str, Any]:
        file = matrix(tmp_path, sizes=[[SIZE, "64x96"], SIZE], components=["vae_decoder", "text_encoder"], **said)
        found = run("export-matrix", file, "--out", tmp_path / "out", "--dry-run", "--json")
        assert found.code == 0, found.err
        return {task["task"]: task for task in found.data["tasks"]}

    label = f"{tiny_checkpoint().name}-onnx-usual"
    plain, asked = tasks(), tasks(embeddings="int8", precompute_prefix=True)
    assert {f"{label}-64x64+64x96", f"{label}-64x64"} <= plain.keys() == asked.keys()
    assert plain["vae_decoder tiny onnx fp32 64x64+64x96"]["for"] == [f"{label}-64x64+64x96"]
    assert all(asked[name]["key"] != task["key"] for name, task in plain.items() if not task["for"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--address", "127.0.0.1:9"), "--address 127.0.0.1:9: no cluster answers"),
        (("--address", "ray://x"), "expected HOST:PORT of a cluster's head"),
        (("--address", "auto", "--jobs", "2"), "--jobs 2: the nodes of a cluster say what they have"),
        (("--max-memory", "12"), "--max-memory 12: expected a positive number and a unit (MB, GB, MiB, GiB)"),
    ],
)
def test_places_that_cannot_be_are_refused(run, tmp_path: Path, option: tuple[str, ...], message: str) -> None:
    found = run("export-matrix", matrix(tmp_path), "--out", tmp_path / "out", *option)
    assert found.code == 1 and message in " ".join(found.err.split()), found.err


class CrashError(Exception):
    """Ray's word for a worker that died."""


class ScriptedRay:
    """What `Run` uses of Ray; each attempt of a task ends as its script says: a result, or an exception."""

    exceptions = SimpleNamespace(RayTaskError=KeyError, RayError=CrashError)

    def __init__(self, **scripts: list[object]) -> None:
        self.scripts, self.sent, self.most, self.idle = scripts, list[str](), 0, 0
        self.cancelled: list[tuple[str, int]] = []
        self.offers, self.asked = [{"CPU": 4.0, "memory": 100.0}], list[int]()
        self.leaves: dict[int, list[dict[str, float]]] = {}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": offer} for offer in self.offers]

    def remote(self, **_options: object):
        return lambda _function: SimpleNamespace(options=self.options)

    def options(self, *, memory: int, **_: object) -> SimpleNamespace:
        self.asked.append(memory)
        return SimpleNamespace(remote=self.send)

    def send(self, task: Task, _expected: dict[str, str]) -> tuple[str, int]:
        self.sent.append(task.name)
        return task.name, len(self.sent)

    def wait(self, references: list[tuple[str, int]], **_: float) -> tuple[list[tuple[str, int]], list[Any]]:
        self.most = max(self.most, len(references))
        self.offers = self.leaves.get(self.idle, self.offers)
        self.idle -= 1
        if self.idle >= 0:
            return [], references
        return references[:1], references[1:]

    def cancel(self, reference: tuple[str, int], **_: bool) -> None:
        self.cancelled.append(reference)

    def get(self, reference: tuple[str, int]) -> dict[str, Any]:
        if reference in self.cancelled:
            raise CrashError
        outcome = self.scripts.get(reference[0], [{"made": True}]).pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def ends(
    ray: ScriptedRay, *tasks: Task, ceiling: int | None = None, memory: int | None = 100
) -> dict[str, tuple[str | None, int]]:
    said: list[str] = []
    run = Run(ray, {task.key: task for task in tasks}, Place(4, ceiling, retries=2), memory, said.append)
    return {done.task.name: (done.problem, done.attempts) for done in run.all()}


def task(name: str, *needs: str, memory: int = 10) -> Task:
    return Task(name, name, None, memory, needs)  # type: ignore[arg-type]


def test_a_worker_that_dies_is_tried_again_and_not_for_ever() -> None:
    ray = ScriptedRay(once=[CrashError(), {"made": True}], always=[CrashError(), CrashError(), CrashError()])
    found = ends(ray, task("once"), task("always"), task("other"))
    assert found["once"] == (None, 2) and found["other"] == (None, 1)
    assert found["always"][1] == 3 and "its worker died 3 times, at last of CrashError" in str(found["always"][0])


def test_what_fails_takes_only_those_along_that_need_it() -> None:
    ray = ScriptedRay(bad=[{"problem": "no such thing"}])
    found = ends(ray, task("bad"), task("good"), task("lost", "bad", "good"), task("kept", "good"))
    assert found["lost"] == ("bad: no such thing", 0) and found["kept"] == (None, 1)
    assert "lost" not in ray.sent


def test_tasks_fly_together_as_far_as_memory_goes() -> None:
    ray = ScriptedRay()
    ends(ray, *(task(name, memory=40) for name in "abcd"), task("large", memory=400))
    assert ray.most == 2 and ray.sent == [*"abcd", "large"]


def test_the_youngest_task_waits_where_all_hold_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as much as allowed at the first look; the youngest is stopped and comes back when the other is done."""
    looks = iter([2 * 10**9])
    monkeypatch.setattr(cluster, "tree_bytes", lambda _: next(looks, 0))
    ray = ScriptedRay()
    ray.idle = 1
    found = ends(ray, task("old"), task("young"), ceiling=10**9)
    assert found == {"old": (None, 1), "young": (None, 1)}
    assert ray.cancelled == [("young", 2)] and ray.sent == ["old", "young", "young"]


def test_a_task_that_alone_holds_too_much_fails_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([2 * 10**9])
    monkeypatch.setattr(cluster, "tree_bytes", lambda _: next(looks, 0))
    ray = ScriptedRay()
    ray.idle = 1
    found = ends(ray, task("large", memory=100), task("small"), ceiling=10**9)
    assert "holds 2.00 GB and grows; allow more (--max-memory)" in str(found["large"][0])
    assert found["small"] == (None, 1)


def test_a_head_without_cores_has_no_room_for_tasks() -> None:
    """However much memory it offers: a task that asked for so much would wait for ever."""
    ray = ScriptedRay()
    ray.offers = [{"memory": 1000.0}, {"CPU": 2.0, "memory": 60.0}]
    assert ends(ray, task("large", memory=400), memory=None) == {"large": (None, 1)}
    assert ray.asked == [60]
    ray.offers = [{"memory": 1000.0}]
    with pytest.raises(ExportError, match="no node of the cluster has a core"):
        ends(ray, task("any"), memory=None)


def test_a_run_that_has_begun_waits_for_a_node_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    offer = {"CPU": 1.0, "memory": 60.0}
    ray = ScriptedRay()
    ray.offers, ray.idle, ray.leaves = [offer], 3, {3: [], 2: [], 1: [offer]}
    assert ends(ray, task("small", memory=30), memory=None) == {"small": (None, 1)}
    monkeypatch.setattr(cluster, "NODE_SECONDS", 0)
    ray.idle, ray.leaves = 3, {3: [], 2: [], 1: [offer]}
    with pytest.raises(ExportError, match="no node of the cluster has a core"):
        ends(ray, task("small", memory=30), memory=None)


def test_what_waits_for_a_node_that_left_is_sent_anew() -> None:
    """With what the largest of those left has, and as its first attempt."""
    ray = ScriptedRay()
    ray.offers = [{"CPU": 1.0, "memory": 60.0}, {"CPU": 1.0, "memory": 400.0}]
    ray.idle, ray.leaves = 1, {1: [{"CPU": 1.0, "memory": 60.0}]}
    assert ends(ray, task("large", memory=300), memory=None) == {"large": (None, 1)}
    assert ray.cancelled == [("large", 1)] and ray.asked == [300, 60]


def test_workers_killed_during_the_run_change_nothing(tmp_path: Path) -> None:
    """Three bundles of two pieces on Ray; workers are killed at random. Oracle: exports made in this process."""
    file = matrix(tmp_path, **BOTH)
    command = [sys.executable, "-c", "from dreamlite_mobile.cli import main; main()", "export-matrix", str(file)]
    command += ["--out", str(tmp_path / "out"), "--jobs", "2", "--retries", str(KILLS), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    chance, killed, due = random.Random(0), 0, 0.0
    while process.poll() is None:
        if killed < KILLS and time.monotonic() > due and kill_one(process.pid):
            killed, due = killed + 1, time.monotonic() + chance.uniform(0, 6)
        time.sleep(0.05)
    out, err = process.communicate()
    assert process.returncode == 0, err
    found = json.loads(out)
    attempts = {one["task"]: one["attempts"] for one in found["tasks"]}
    died = sum(attempts.values()) - len(attempts)
    assert 1 <= died <= killed == KILLS, attempts  # one that was ready died unnoticed
    assert len(attempts) == 5 and {cell["state"] for cell in found["cells"]} == {"made"}
    checkpoint = open_checkpoint(tiny_checkpoint())
    for cell in found["cells"]:
        request = ExportRequest(
            checkpoint, checkpoint.path.name, cell["backend"], SIZE, SIZE,
            precision=None if cell["precision"] == "usual" else cell["precision"],
            modes=("generate",), components=("vae_decoder",),
        )  # fmt: skip
        run_export(plan_export(request), tmp_path / cell["cell"])
        assert digests(tmp_path / "out" / cell["cell"]) == digests(tmp_path / cell["cell"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        ["pieces", *(cell["cell"] for cell in found["cells"])]
    )
    again = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert {cell["state"] for cell in again["cells"]} == {"unchanged"} and not again["tasks"]


def kill_one(pid: int) -> bool:
    """Kill a worker that does something, as Ray's name for it says; whether there was one."""
    for worker in descendants(pid):
        try:
            title = Path(f"/proc/{worker}/cmdline").read_text().replace("\0", " ").strip()
        except OSError:
            continue
        if title.startswith(("ray::vae_decoder", f"ray::{tiny_checkpoint().name}-")):
            os.kill(worker, signal.SIGKILL)
            return True
    return False
