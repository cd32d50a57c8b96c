"""A bundle is refused unless every byte of it is what was written, and refused fast."""

from __future__ import annotations

import json
import os
import shutil
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.bundle_writer import write_zip
from robot_wm.runtime.manifest import MANIFEST, PARITY, POLICY_OP17, SIGNATURE
from robot_wm.runtime.signature import generate_key

FILES = (MANIFEST, PARITY, POLICY_OP17, SIGNATURE)


def refused(path, public_key=None, *, naming: str) -> None:
    with pytest.raises(UserError) as caught:
        Bundle.open(path, public_key)
    message = str(caught.value)
    assert naming in message
    assert "\n" not in message


def repack(folder: Path, target: Path, change) -> Path:
    """The bundle as a zip whose entries ``change`` turns from (info, content) to a list of the same."""
    with zipfile.ZipFile(target, "w") as archive:
        for name in sorted(os.listdir(folder)):
            for info, content in change(zipfile.ZipInfo(name), (folder / name).read_bytes()):
                archive.writestr(info, content)
    return target


def test_opens_as_folder_and_as_zip(signed_bundle):
    archive = write_zip(signed_bundle.folder)
    for path in (signed_bundle.folder, archive):
        with Bundle.open(path, signed_bundle.public_key) as bundle:
            assert bundle.signature_checked
            assert bundle.spec.task == "arm_reach"
            assert bundle.manifest.lineage.steps == 7
            assert bundle.recording().ticks == 256
            assert bundle.read() == (signed_bundle.folder / POLICY_OP17).read_bytes()
            assert bundle.file().read_bytes() == bundle.read()
            unpacked = bundle.path
    assert not unpacked.exists()  # the zip's temporary folder went with it


def test_opens_unsigned_and_unchecked_where_no_key_is_configured(signed_bundle):
    assert not Bundle.open(signed_bundle.folder).signature_checked
    (signed_bundle.folder / SIGNATURE).unlink()
    assert not Bundle.open(signed_bundle.folder).signature_checked


@pytest.mark.parametrize(("name", "use"), [(POLICY_OP17, Bundle.read), (PARITY, Bundle.recording)])
def test_what_is_changed_after_the_bundle_was_opened_is_refused_when_it_is_used(signed_bundle, name, use):
    """A number of the recording, or a weight: the file is as long as before, and as well formed."""
    with Bundle.open(signed_bundle.folder, signed_bundle.public_key) as bundle:
        use(bundle)
        content = bytearray((signed_bundle.folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (signed_bundle.folder / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name} was changed"):
            use(bundle)


def test_a_key_refuses_anything_that_it_did_not_sign(signed_bundle, tmp_path):
    other = generate_key(tmp_path / "other.pem")
    refused(signed_bundle.folder, other, naming=SIGNATURE)
    (signed_bundle.folder / SIGNATURE).write_bytes(b"\0" * 64)
    refused(signed_bundle.folder, signed_bundle.public_key, naming=SIGNATURE)
    (signed_bundle.folder / SIGNATURE).write_bytes(b"\0" * 63)
    refused(signed_bundle.folder, signed_bundle.public_key, naming=SIGNATURE)
    (signed_bundle.folder / SIGNATURE).unlink()
    refused(signed_bundle.folder, signed_bundle.public_key, naming="not signed")
    refused(write_zip(signed_bundle.folder), signed_bundle.public_key, naming="not signed")
    refused(signed_bundle.folder, tmp_path / "missing.pem", naming="missing.pem")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_one_changed_byte_in_any_file_is_refused(signed_bundle, name, packed):
    file = signed_bundle.folder / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    path = write_zip(signed_bundle.folder) if packed else signed_bundle.folder
    refused(path, signed_bundle.public_key, naming=SIGNATURE if name == MANIFEST else name)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_a_truncated_or_missing_file_is_refused(signed_bundle, name, keep):
    file = signed_bundle.folder / name
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    listed = name in (PARITY, POLICY_OP17)
    refused(signed_bundle.folder, naming=f"{name} has {int(len(content) * keep)} bytes, listed" if listed else name)
    if name != SIGNATURE:
        file.unlink()
        refused(signed_bundle.folder, naming=name)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.9999])
def test_a_truncated_zip_is_refused(signed_bundle, keep):
    archive = write_zip(signed_bundle.folder)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * keep)])
    refused(archive, naming="cut short")


def test_whatever_is_not_listed_is_refused(signed_bundle):
    extra = signed_bundle.folder / "planner.onnx"
    extra.write_bytes(b"x")
    refused(signed_bundle.folder, naming="planner.onnx")
    refused(write_zip(signed_bundle.folder), naming="planner.onnx")
    extra.unlink()
    (signed_bundle.folder / "sub").mkdir()
    refused(signed_bundle.folder, naming="sub")
    (signed_bundle.folder / "sub").rmdir()
    # Even a link to the very content that is listed: what it points to can change later.
    shutil.move(signed_bundle.folder / PARITY, signed_bundle.folder.parent / PARITY)
    (signed_bundle.folder / PARITY).symlink_to(signed_bundle.folder.parent / PARITY)
    refused(signed_bundle.folder, naming=PARITY)
    (signed_bundle.folder / PARITY).unlink()
    os.mkfifo(signed_bundle.folder / PARITY)
    refused(signed_bundle.folder, naming=PARITY)


def test_what_is_no_bundle_is_refused(tmp_path):
    refused(tmp_path / "nothing.rwm", naming="nothing.rwm")
    refused(tmp_path, naming=MANIFEST)
    (tmp_path / "text.rwm.zip").write_text("not a zip file, but long enough to hold an end record")
    refused(tmp_path / "text.rwm.zip", naming="not a zip")


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:evil", "policy.op17.onnx/", "a//b", "./a", "evil\0.txt"],
)
def test_a_zip_entry_that_leaves_the_folder_is_refused(signed_bundle, tmp_path, name):
    placeholder = "x" * len(name)
    archive = repack(
        signed_bundle.folder,
        tmp_path / "slip.rwm.zip",
        lambda info, content: [(info, content), *([(placeholder, b"x")] if info.filename == PARITY else [])],
    )
    # Python's own writer would clean the name, an attacker's would not.
    archive.write_bytes(archive.read_bytes().replace(placeholder.encode(), name.encode()))
    refused(archive, naming="not a plain relative file name")
    assert not list(tmp_path.rglob("*evil*"))


def test_links_duplicates_and_odd_entries_in_a_zip_are_refused(signed_bundle, tmp_path):
    def link(info, content):
        if info.filename == PARITY:
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
        return [(info, content)]

    refused(repack(signed_bundle.folder, tmp_path / "link.zip", link), naming="link")
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = repack(signed_bundle.folder, tmp_path / "twice.zip", lambda info, content: [(info, content)] * 2)
    refused(twice, naming="twice")
    many = tmp_path / "many.zip"
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(5000):
            archive.writestr(str(number), b"")
    refused(many, naming="5000 entries")


def test_a_deflated_zip_opens_and_a_bomb_is_not_unpacked(signed_bundle, tmp_path):
    def deflate(info, content):
        info.compress_type = zipfile.ZIP_DEFLATED
        return [(info, content)]

    with Bundle.open(repack(signed_bundle.folder, tmp_path / "deflated.zip", deflate), signed_bundle.public_key):
        pass

    def bomb(info, content):
        return deflate(info, b"\0" * 50_000_000 if info.filename == PARITY else content)

    archive = repack(signed_bundle.folder, tmp_path / "bomb.zip", bomb)
    refused(archive, naming=f"{PARITY} has 50000000 bytes")
    # The same with a directory that lies about the size.
    raw = archive.read_bytes()
    listed = json.loads((signed_bundle.folder / MANIFEST).read_bytes())["files"][PARITY]["size_bytes"]
    assert raw.count((50_000_000).to_bytes(4, "little")) == 2
    archive.write_bytes(raw.replace((50_000_000).to_bytes(4, "little"), listed.to_bytes(4, "little")))
    refused(archive, naming="bomb.zip")


def test_the_cache_is_verified_and_mended(signed_bundle, tmp_path):
    archive = write_zip(signed_bundle.folder)
    cache = tmp_path / "cache"
    first = Bundle.open(archive, signed_bundle.public_key, cache=cache)
    stamp = first.file().stat().st_mtime_ns
    first.close()
    assert first.path.parent == cache
    again = Bundle.open(archive, signed_bundle.public_key, cache=cache)
    assert again.path == first.path
    assert again.file().stat().st_mtime_ns == stamp  # not unpacked a second time
    again.file().write_bytes(b"damaged")
    mended = Bundle.open(archive, signed_bundle.public_key, cache=cache)
    assert mended.read() == (signed_bundle.folder / POLICY_OP17).read_bytes()


def test_a_file_changed_after_opening_is_not_handed_out(signed_bundle):
    bundle = Bundle.open(signed_bundle.folder, signed_bundle.public_key)
    content = bytearray(bundle.file().read_bytes())
    content[10] ^= 1
    bundle.file().write_bytes(content)
    with pytest.raises(UserError, match=POLICY_OP17):
        bundle.read()
    with pytest.raises(UserError, match=r"no\.onnx"):
        bundle.file("no.onnx")


def _nodes(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _nodes(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _nodes(item, (*path, index))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_manifest_is_refused_or_still_a_bundle(signed_original, tmp_path_factory, data):
    manifest = json.loads((signed_original.folder / MANIFEST).read_bytes())
    path = data.draw(st.sampled_from(list(_nodes(manifest))[1:]))
    parent = manifest
    for key in path[:-1]:
        parent = parent[key]
    if data.draw(st.booleans()):
        parent[path[-1]] = data.draw(JSON_VALUES)
    else:
        del parent[path[-1]]
    folder = tmp_path_factory.mktemp("mutated") / "agent.rwm"
    shutil.copytree(signed_original.folder, folder)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    refused(folder, signed_original.public_key, naming=SIGNATURE)
    try:
        bundle = Bundle.open(folder)
        bundle.recording()
        assert bundle.manifest.spec_sha256 == bundle.spec.content_hash()
        message = ""
    except UserError as error:
        message = str(error)
    assert "\n" not in message


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[" * 200_000, b"\xff\xfe", b"null", b'{"schema_version": 2}', b'{"schema_version": 1}', b"{}" * 9],
)
def test_a_manifest_that_is_not_ours_is_refused(signed_bundle, raw):
    (signed_bundle.folder / MANIFEST).write_bytes(raw)
    refused(signed_bundle.folder, naming=MANIFEST)


def test_a_huge_manifest_is_not_read(signed_bundle):
    with (signed_bundle.folder / MANIFEST).open("wb") as file:
        file.truncate(10**11)
    refused(signed_bundle.folder, naming="larger than")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_damaged_zip_never_gives_other_content(signed_original, tmp_path_factory, position, value):
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(signed_original.folder, folder / "agent.rwm")
    archive = write_zip(folder / "agent.rwm")
    content = bytearray(archive.read_bytes())
    content[int(position * len(content))] = value
    archive.write_bytes(content)
    try:
        with Bundle.open(archive, signed_original.public_key) as bundle:
            for name in (MANIFEST, POLICY_OP17, PARITY):
                assert (bundle.path / name).read_bytes() == (signed_original.folder / name).read_bytes()
        message = ""
    except UserError as error:
        message = str(error)
    assert "\n" not in message
