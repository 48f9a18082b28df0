"""Writing and opening whole bundles, and what each inconsistency of a manifest is called. Oracle: the written files."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from small_bundle import CONFIG, EMBEDDINGS, add_files, change_manifest, manifest, manifest_data, write_bundle

from dreamlite_mobile.bundle import BundleWriter, open_bundle, verify_bundle
from dreamlite_mobile.bundle_config import config_from_json, config_to_json
from dreamlite_mobile.bundle_schema import SCHEMA_VERSION, Manifest, json_schema
from dreamlite_mobile.config import MOBILE
from dreamlite_mobile.errors import BundleError, OutputError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "whole")


def test_what_was_written_opens(whole: Path) -> None:
    bundle = open_bundle(whole)
    assert bundle.manifest == manifest(bundle.manifest.files)
    assert bundle.file(EMBEDDINGS) == whole / EMBEDDINGS
    assert bundle.manifest.checkpoint.dreamlite_config == CONFIG


def test_the_digests_are_those_of_sha256sum(whole: Path) -> None:
    for path, entry in open_bundle(whole).manifest.files.items():
        data = (whole / path).read_bytes()
        assert (entry.bytes, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    done = subprocess.run(["sha256sum", "--check", "manifest.sha256"], cwd=whole, capture_output=True, check=False)
    assert done.returncode == 0


def test_two_writes_give_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    again = write_bundle(tmp_path / "again")
    assert (again / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


def test_progress_counts_every_byte_of_a_full_check_and_none_of_a_quick_one(whole: Path) -> None:
    told: list[int] = []
    bundle = open_bundle(whole, progress=told.append)
    assert sum(told) == sum(entry.bytes for entry in bundle.manifest.files.values())
    told.clear()
    open_bundle(whole, verify="quick", progress=told.append)
    assert told == []


def test_verify_lists_every_problem(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    assert verify_bundle(folder) == []
    (folder / "unet.pte").unlink()
    (folder / "more").write_bytes(b"")
    data = bytearray((folder / EMBEDDINGS).read_bytes())
    data[0] ^= 1
    (folder / EMBEDDINGS).write_bytes(data)
    problems = "\n".join(verify_bundle(folder))
    assert "'unet.pte' is missing" in problems and "'more' is not in the manifest" in problems
    assert f"'{EMBEDDINGS}' has sha256" in problems
    with pytest.raises(BundleError) as refusal:
        open_bundle(folder)
    assert all(line in str(refusal.value) for line in problems.splitlines())


def test_a_quick_check_sees_sizes_but_not_digests(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    data = bytearray((folder / EMBEDDINGS).read_bytes())
    data[0] ^= 1
    (folder / EMBEDDINGS).write_bytes(data)
    open_bundle(folder, verify="quick")
    (folder / EMBEDDINGS).write_bytes(data[:-1])
    with pytest.raises(BundleError, match=f"has {len(data) - 1} bytes, expected {len(data)}"):
        open_bundle(folder, verify="quick")


@pytest.mark.parametrize("place", ["absent", "file", "empty"])
def test_what_is_not_a_bundle_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=place):
        open_bundle(tmp_path / place)


def test_another_schema_version_names_both_and_the_mend(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    change_manifest(folder, {**manifest_data(folder), "schema_version": SCHEMA_VERSION + 1})
    with pytest.raises(
        BundleError, match=f"schema version {SCHEMA_VERSION + 1}, this toolkit reads version {SCHEMA_VERSION}. Update"
    ):
        open_bundle(folder)


def test_a_manifest_changed_after_export_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace("Apache-2.0", "Apache-2.1"))
    with pytest.raises(BundleError, match="the manifest was changed after export"):
        open_bundle(folder)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("name", ["unet.pte", "manifest.json", "manifest.sha256", "extra"])
def test_links_are_refused(tmp_path: Path, name: str, inside: bool) -> None:
    folder = write_bundle(tmp_path / "bundle")
    target = folder / "vae_decoder.pte" if inside else tmp_path / "outside"
    if not inside and name != "extra":
        (folder / name).rename(target)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(target)
    with pytest.raises(BundleError, match="symbolic link|not a plain file"):
        open_bundle(folder)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    (folder / "unet.pte").unlink()
    os.mkfifo(folder / "unet.pte")
    with pytest.raises(BundleError, match="not a plain file"):
        open_bundle(folder)


def test_require_names_what_is_missing(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    data = manifest_data(folder)
    for name in ("vision_encoder", "vae_encoder"):
        del data["components"][name]
        del data["files"][f"{name}.pte"]
        (folder / f"{name}.pte").unlink()
    change_manifest(folder, data)
    bundle = open_bundle(folder)
    bundle.require("generate")
    with pytest.raises(BundleError, match="edit needs vision_encoder, vae_encoder"):
        bundle.require("edit")
    with pytest.raises(BundleError, match="unknown component 'vision_encoder'; known: text_encoder"):
        bundle.component("vision_encoder")


def test_another_size_is_refused(whole: Path) -> None:
    bundle = open_bundle(whole)
    assert bundle.at((96, 64)).size == bundle.size
    with pytest.raises(BundleError, match="made for 96x64, not for 64x96. Take one of its sizes, or export"):
        bundle.at((64, 96))


def test_leaving_without_finish_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="without finish"), BundleWriter(tmp_path / "bundle") as writer:
        add_files(writer)
    assert os.listdir(tmp_path) == []


def test_a_file_that_was_not_registered_is_refused_by_finish(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="'stray' is not in the manifest"), BundleWriter(tmp_path / "b") as writer:
        add_files(writer)
        writer.path("stray").write_bytes(b"")
        writer.finish(manifest(writer.files))
    assert os.listdir(tmp_path) == []


def test_replace_takes_a_bundle_but_nothing_else(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    write_bundle(folder, replace=True)
    open_bundle(folder)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"1")
    with pytest.raises(OutputError, match="not a bundle, so it is not replaced"):
        write_bundle(tmp_path / "photos", replace=True)
    assert os.listdir(tmp_path / "photos") == ["cat.png"]


def test_a_killed_export_leaves_no_bundle_and_the_next_cleans_up(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from small_bundle import add_files\n"
        "from dreamlite_mobile.bundle import BundleWriter\n"
        "with BundleWriter(Path(sys.argv[1])) as writer:\n"
        "    add_files(writer); print('writing', flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "bundle"], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None and process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "bundle").exists() and len(os.listdir(tmp_path)) == 1
    open_bundle(write_bundle(tmp_path / "bundle"))
    assert os.listdir(tmp_path) == ["bundle"]


def test_a_config_survives_json_and_nothing_may_be_left_out() -> None:
    data = config_to_json(MOBILE)
    assert config_from_json(data) == MOBILE
    with pytest.raises(ValidationError, match="vae"):
        config_from_json({key: value for key, value in data.items() if key != "vae"})


def test_the_published_schema_accepts_what_is_written_and_names_every_key(whole: Path) -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(manifest_data(whole)) == set(Manifest.model_fields)
    assert schema["additionalProperties"] is False
