"""What the user typed to a local folder. Oracle for the cache: huggingface_hub reads it itself."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from checkpoint_files import (
    tiny_checkpoint,
)
from huggingface_hub import errors as hub_errors

from dreamlite_mobile import hub
from dreamlite_mobile.checkpoint import resolve_checkpoint
from dreamlite_mobile.errors import CheckpointError


def test_local_folder_is_taken_as_it_is() -> None:
    assert resolve_checkpoint(tiny_checkpoint()) == tiny_checkpoint()
    assert resolve_checkpoint(str(tiny_checkpoint())) == tiny_checkpoint()


@pytest.mark.parametrize(
    "source",
    ["./missing", "/missing/folder", "../a/b", "missing", "a/b/c", "~/missing", "", "a b/c", Path("owner/name")],
)
def test_missing_local_folder_never_asks_the_hub(source: str | Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_download", lambda *_: pytest.fail("asked the hub"))
    with pytest.raises(CheckpointError, match="does not exist; supported: a local folder"):
        resolve_checkpoint(source)


def test_name_inside_a_local_folder_never_asks_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "_download", lambda *_: pytest.fail("asked the hub"))
    with pytest.raises(CheckpointError, match="checkpoints/tiny' does not exist"):
        resolve_checkpoint("checkpoints/tiny")


def test_file_in_place_of_a_folder_is_refused() -> None:
    with pytest.raises(CheckpointError, match="is a file"):
        resolve_checkpoint(tiny_checkpoint() / "model_index.json")


@pytest.mark.parametrize("source", ["nul\0byte", "x" * 5000])
def test_impossible_path_is_refused(source: str) -> None:
    with pytest.raises(CheckpointError):
        resolve_checkpoint(source)


def test_published_checkpoint_is_asked_for_in_its_pinned_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def snapshot(hub_id: str, **options: Any) -> str:
        asked.update(options, hub_id=hub_id)
        return str(tiny_checkpoint())

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert resolve_checkpoint("carlofkl/DreamLite-mobile", offline=False) == tiny_checkpoint()
    assert (asked["hub_id"], asked["revision"], asked["local_files_only"]) == (
        "carlofkl/DreamLite-mobile",
        "diffusers",
        False,
    )
    resolve_checkpoint("someone/other", revision="v2", offline=True)
    assert (asked["revision"], asked["local_files_only"]) == ("v2", True)


def test_cached_snapshot_is_found_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own cache layout, read by huggingface_hub itself."""
    repository = tmp_path / "models--carlofkl--DreamLite-mobile"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/diffusers").write_text("a" * 40)
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text("{}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert resolve_checkpoint("carlofkl/DreamLite-mobile", offline=True) == snapshot


def test_offline_without_a_cache_says_how_to_pass_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="not in the local cache and offline mode is on.*--local-dir FOLDER"):
        resolve_checkpoint("carlofkl/DreamLite-mobile")


def http_error(kind: type[hub_errors.HfHubHTTPError]) -> Exception:
    import httpx2

    return kind("refused\nmore", response=httpx2.Response(404, request=httpx2.Request("GET", "https://huggingface.co")))


def network_errors() -> list[Exception]:
    import httpx2

    return [
        http_error(hub_errors.RepositoryNotFoundError),
        http_error(hub_errors.GatedRepoError),
        http_error(hub_errors.RevisionNotFoundError),
        hub_errors.LocalEntryNotFoundError("nothing cached"),
        hub_errors.OfflineModeIsEnabled("offline"),
        httpx2.ConnectError("no route"),
        httpx2.ProxyError("proxy"),
        httpx2.ReadTimeout("slow"),
        OSError(28, "No space left on device"),
    ]


@pytest.mark.parametrize("failure", network_errors(), ids=lambda failure: type(failure).__name__)
def test_hub_failures_say_how_to_pass_a_folder(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise failure

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError, match="pass FOLDER, a local folder, instead"):
        resolve_checkpoint("carlofkl/DreamLite-mobile", offline=False)
