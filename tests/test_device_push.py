"""Bundles onto the emulated phone through a real adb server: nothing half-pushed is ever a bundle there."""

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import pytest
from adb_device.phone import Phone
from adb_device.shell import Call
from small_bundle import write_bundle

from dreamlite_mobile.bundle import Bundle, open_bundle
from dreamlite_mobile.device import push as pushing
from dreamlite_mobile.device.clean import clean
from dreamlite_mobile.device.errors import CommandError, DigestError, LinkLostError, StorageFullError
from dreamlite_mobile.device.link import Link
from dreamlite_mobile.device.places import APP, REQUESTS, ROOT, bundle_folder, output_folder
from dreamlite_mobile.device.push import RESERVE, manifest_sha256, push_bundle

PIECE = 100_000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(write_bundle(tmp_path_factory.mktemp("here") / "bundle"))


def there(phone: Phone, bundle: Bundle) -> Path:
    """Where the bundle lies on the phone, as this machine sees it."""
    return phone.storage.host(bundle_folder(manifest_sha256(bundle)))


def size(bundle: Bundle) -> int:
    return sum(file.stat().st_size for file in bundle.path.rglob("*") if file.is_file())


def test_what_arrives_is_the_bundle(link: Link, phone: Phone, bundle: Bundle) -> None:
    told: list[int] = []
    pushed = push_bundle(link, bundle, told.append, piece=PIECE)
    assert open_bundle(there(phone, bundle)).manifest == bundle.manifest
    assert pushed.sent_bytes == sum(told) == size(bundle) and pushed.kept_bytes == 0


def test_what_is_there_is_not_sent_again(link: Link, phone: Phone, bundle: Bundle) -> None:
    push_bundle(link, bundle)
    again = push_bundle(link, bundle)
    assert (again.sent_bytes, again.kept_bytes) == (0, size(bundle))


def test_only_what_differs_is_sent(link: Link, phone: Phone, bundle: Bundle) -> None:
    push_bundle(link, bundle)
    damaged = there(phone, bundle) / "unet.pte"
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    again = push_bundle(link, bundle)
    assert again.sent_bytes == (bundle.path / "unet.pte").stat().st_size + manifest_size(bundle)
    open_bundle(there(phone, bundle))


def manifest_size(bundle: Bundle) -> int:
    return (bundle.path / "manifest.json").stat().st_size


def test_a_cut_link_comes_back_and_goes_on(link: Link, phone: Phone, bundle: Bundle) -> None:
    phone.faults.cut_after = size(bundle) // 2
    pushed = push_bundle(link, bundle, piece=PIECE)
    open_bundle(there(phone, bundle))
    assert size(bundle) <= pushed.sent_bytes <= size(bundle) + 2 * PIECE


def test_the_bar_ends_full(link: Link, phone: Phone, bundle: Bundle) -> None:
    """With a cut in the middle, and again when everything is there."""
    for cut in (size(bundle) // 2, None):
        told: list[int] = []
        phone.faults.cut_after, phone.faults.taken = cut, 0
        push_bundle(link, bundle, told.append, piece=PIECE)
        assert sum(told) == size(bundle)


def test_a_phone_may_take_its_time_over_a_large_file(
    link: Link, phone: Phone, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing while it reads for a digest: longer than it may be silent otherwise."""
    sha256sum = phone.commands["sha256sum"]

    def slow(call: Call) -> int:
        time.sleep(3.0 if any("unet.pte" in word for word in call.words) else 0)
        return sha256sum(call)

    phone.commands["sha256sum"] = slow
    hasty = replace(link, patience_s=2.0)
    monkeypatch.setattr(pushing, "SLOW_READ", (bundle.path / "unet.pte").stat().st_size / 5)
    push_bundle(hasty, bundle, come_back_s=5)
    open_bundle(there(phone, bundle))


def test_a_link_that_stays_cut_is_an_error_and_no_bundle(link: Link, phone: Phone, bundle: Bundle) -> None:
    def cut() -> None:
        phone.reachable = False
        phone.cut()

    phone.faults.cut, phone.faults.cut_after = cut, size(bundle) // 2
    with pytest.raises(LinkLostError, match="did not come back within 1 s"):
        push_bundle(link, bundle, piece=PIECE, come_back_s=1)
    assert not (there(phone, bundle) / "manifest.json").exists()


def test_a_later_push_goes_on_where_the_first_was_cut(
    link: Link, phone: Phone, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone.faults.cut_after = size(bundle) // 2
    monkeypatch.setattr(pushing, "TRIES", 1)
    with pytest.raises(LinkLostError):
        push_bundle(link, bundle, piece=20_000)
    link.come_back(10)
    (part,) = there(phone, bundle).rglob("*.part")
    begun = part.stat().st_size
    again = push_bundle(link, bundle, piece=20_000)
    assert again.sent_bytes + again.kept_bytes + begun == size(bundle)
    open_bundle(there(phone, bundle))


def test_a_part_that_is_not_the_beginning_is_thrown_away(link: Link, phone: Phone, bundle: Bundle) -> None:
    phone.storage.write(f"{bundle_folder(manifest_sha256(bundle))}/unet.pte.part", b"something else")
    push_bundle(link, bundle)
    open_bundle(there(phone, bundle))


def test_a_file_that_arrives_changed_is_removed_and_named(link: Link, phone: Phone, bundle: Bundle) -> None:
    phone.faults.spoil = "unet.pte"
    with pytest.raises(DigestError, match=r"unet.pte arrived with sha256 .*it was removed"):
        push_bundle(link, bundle)
    found = {file.name for file in there(phone, bundle).rglob("*") if file.is_file()}
    assert "manifest.json" not in found and not any(name.startswith("unet") for name in found)


def test_an_old_manifest_does_not_stand_over_half_new_files(link: Link, phone: Phone, bundle: Bundle) -> None:
    push_bundle(link, bundle)
    (there(phone, bundle) / "unet.pte").write_bytes(b"damaged")
    phone.faults.spoil = "unet.pte"
    with pytest.raises(DigestError):
        push_bundle(link, bundle)
    assert not (there(phone, bundle) / "manifest.json").exists()


def test_too_little_room_is_found_before_the_first_byte(link: Link, phone: Phone, bundle: Bundle) -> None:
    phone.storage.capacity = phone.storage.used() + RESERVE
    with pytest.raises(StorageFullError, match="MB of free storage, has .*--clean"):
        push_bundle(link, bundle)
    assert phone.faults.taken == 0


def test_a_phone_that_fills_up_meanwhile_is_named(link: Link, phone: Phone, bundle: Bundle) -> None:
    def fill(_count: int) -> None:
        phone.storage.capacity = phone.storage.used() + 1000

    with pytest.raises(StorageFullError, match="No space left|ran full"):
        push_bundle(link, bundle, fill, piece=PIECE)
    assert not (there(phone, bundle) / "manifest.json").exists()


def test_clean_removes_what_was_pushed_and_nothing_else(link: Link, phone: Phone, bundle: Bundle) -> None:
    push_bundle(link, bundle)
    folder = bundle_folder(manifest_sha256(bundle))
    phone.storage.write(f"{folder}/mine.txt", b"mine")
    phone.storage.write("/data/local/tmp/other", b"other")
    assert clean(link) == (folder,)
    left = {
        str(file.relative_to(phone.storage.root)) for file in phone.storage.host("/data").rglob("*") if file.is_file()
    }
    assert left == {f"{folder[1:]}/mine.txt", "data/local/tmp/other"}


def test_clean_removes_what_a_cut_push_left(
    link: Link, phone: Phone, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone.faults.cut_after = size(bundle) // 2
    monkeypatch.setattr(pushing, "TRIES", 1)
    with pytest.raises(LinkLostError):
        push_bundle(link, bundle, piece=PIECE)
    link.come_back(10)
    clean(link)
    assert not phone.storage.host(ROOT).exists()


def test_clean_does_not_follow_a_list_that_leads_elsewhere(link: Link, phone: Phone) -> None:
    phone.storage.write(f"{ROOT}/bundles/ab.pushed.list", b"../../../precious\n")
    phone.storage.write("/data/local/precious", b"kept")
    with pytest.raises(CommandError, match="remove the folder by hand"):
        clean(link)
    assert phone.storage.host("/data/local/precious").read_bytes() == b"kept"


@pytest.mark.parametrize("where", ["feedfeedfeedfeed", "feedfeedfeedfeed/inside"])
def test_clean_does_not_follow_a_folder_that_is_a_link(link: Link, phone: Phone, where: str) -> None:
    phone.storage.write("/sdcard/DCIM/photo.jpg", b"kept")
    name = "photo.jpg" if where.count("/") == 0 else "inside/photo.jpg"
    phone.storage.write(f"{ROOT}/bundles/feedfeedfeedfeed.pushed.list", f"{name}\n".encode())
    place = phone.storage.host(f"{ROOT}/bundles/{where}")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(phone.storage.host("/sdcard/DCIM"))
    with pytest.raises(CommandError, match="is a link to another place"):
        clean(link)
    assert phone.storage.host("/sdcard/DCIM/photo.jpg").read_bytes() == b"kept"


def test_clean_removes_what_a_failed_run_left(link: Link, phone: Phone) -> None:
    """Its request is on the phone, so its outputs are ours; another's beside them are not."""
    run = "generate-0123456789ab"
    phone.storage.write(f"{REQUESTS}/{run}/request.json", b"{}")
    phone.storage.write(f"{REQUESTS}/{run}.pushed.list", b"request.json\n")
    phone.storage.write(f"{output_folder(APP, run)}/result.json", b"{}")
    phone.storage.write(f"{output_folder(APP, 'mine')}/result.json", b"{}")
    clean(link)
    assert not phone.storage.host(output_folder(APP, run)).exists()
    assert phone.storage.host(f"{output_folder(APP, 'mine')}/result.json").exists()


def test_the_digest_is_the_phones_own(link: Link, phone: Phone, bundle: Bundle) -> None:
    phone.faults.wrong_sum = "vae_decoder.pte"
    with pytest.raises(DigestError, match="vae_decoder"):
        push_bundle(link, bundle)
    data = (bundle.path / "vae_decoder.pte").read_bytes()
    assert hashlib.sha256(data).hexdigest()[::-1] != hashlib.sha256(data).hexdigest()
