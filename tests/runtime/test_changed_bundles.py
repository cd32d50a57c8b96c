"""Bundles with changed bytes, zips, manifests and signatures: refused in one line, the same as before, or harmless."""

from __future__ import annotations

import copy
import json
import shutil

from hostile import copied, listed, relisted, use
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.bundle_writer import write_zip
from robot_wm.runtime.manifest import MANIFEST, PARITY, POLICY_OP17, SIGNATURE
from robot_wm.runtime.signature import generate_key, load_private_key, sign

FILES = (MANIFEST, PARITY, POLICY_OP17, SIGNATURE)


def test_the_same_without_a_change_is_accepted(signed_bundle, judge):
    assert judge(signed_bundle.folder)[0] == ""
    assert judge(listed(signed_bundle.folder))[0] == ""
    assert judge(write_zip(signed_bundle.folder))[0] == ""


def test_only_the_right_signature_on_these_very_bytes_is_accepted(signed_bundle, tmp_path):
    folder, key = signed_bundle.folder, signed_bundle.public_key
    assert use(folder, key) == ""
    other_key = generate_key(tmp_path / "other.pem")
    assert "not by the configured public key" in use(folder, other_key)
    # Signed by the right key, but for another manifest.
    stranger = copied(folder, tmp_path / "stranger")
    (stranger / MANIFEST).write_bytes((stranger / MANIFEST).read_bytes() + b"\n")
    assert "not by the configured public key" in use(stranger, key)
    (stranger / SIGNATURE).write_bytes(
        sign((stranger / MANIFEST).read_bytes(), load_private_key(signed_bundle.private_key))
    )
    assert use(stranger, key) == ""
    shutil.copy(stranger / SIGNATURE, folder / SIGNATURE)
    assert "not by the configured public key" in use(folder, key)
    # Made hostile and signed by its author.
    listed(stranger)
    (stranger / SIGNATURE).write_bytes(
        sign((stranger / MANIFEST).read_bytes(), load_private_key(tmp_path / "other.pem"))
    )
    assert "not by the configured public key" in use(stranger, key)
    (stranger / SIGNATURE).unlink()
    assert "not signed" in use(stranger, key)
    assert use(stranger) == ""


def mutations(content: bytes) -> st.SearchStrategy[bytes]:
    """Bytes with a few flips, cuts, doublings, splices and fills."""
    size = len(content)
    spans = st.tuples(st.integers(0, size - 1), st.sampled_from([1, 2, 4, 8, 64, 1000]))

    def apply(steps: list[tuple[str, tuple[int, int], int]]) -> bytes:
        changed = bytearray(content)
        for kind, (start, length), value in steps:
            part = changed[start : start + length]
            changed[start : start + length] = {
                "flip": bytes(byte ^ (value or 1) for byte in part[:1]) + part[1:],
                "cut": b"",
                "end": b"",
                "double": part * 2,
                "splice": content[value * size // 256 :][: len(part)],
                "fill": bytes([value]) * len(part),
            }[kind]
            if kind == "end":
                del changed[start:]
        return bytes(changed)

    kinds = st.sampled_from(["flip", "flip", "cut", "end", "double", "splice", "fill"])
    return st.lists(st.tuples(kinds, spans, st.integers(0, 255)), min_size=1, max_size=4).map(apply)


FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(data=st.data(), name=st.sampled_from([PARITY, POLICY_OP17]))
def test_whatever_bytes_are_listed_it_is_refused_or_harmless(signed_original, tmp_path_factory, data, name):
    folder = copied(signed_original.folder, tmp_path_factory.mktemp("fuzz"))
    (folder / name).write_bytes(data.draw(mutations((folder / name).read_bytes())))
    use(listed(folder))


@FUZZ
@given(data=st.data(), name=st.sampled_from(FILES))
def test_whatever_bytes_are_changed_it_is_refused_or_the_same(signed_original, tmp_path_factory, data, name):
    folder = copied(signed_original.folder, tmp_path_factory.mktemp("fuzz"))
    original = (folder / name).read_bytes()
    (folder / name).write_bytes(data.draw(mutations(original)))
    changed = (folder / name).read_bytes() != original
    for path in (folder, write_zip(folder)):
        assert bool(use(path, signed_original.public_key)) == changed


@FUZZ
@given(data=st.data())
def test_whatever_becomes_of_a_zip_its_content_is_refused_or_the_same(signed_original, tmp_path_factory, data):
    folder = copied(signed_original.folder, tmp_path_factory.mktemp("fuzz"))
    archive = write_zip(folder)
    archive.write_bytes(data.draw(mutations(archive.read_bytes())))
    if use(archive, signed_original.public_key) == "":
        with Bundle.open(archive, signed_original.public_key) as bundle:
            for name in FILES:
                assert (bundle.path / name).read_bytes() == (folder / name).read_bytes()


@FUZZ
@given(data=st.data())
def test_a_manifest_with_a_sound_spec_hash_is_refused_or_harmless(signed_original, tmp_path_factory, data):
    folder = copied(signed_original.folder, tmp_path_factory.mktemp("fuzz"))
    manifest = json.loads((folder / MANIFEST).read_bytes())
    values = [None, True, 0, 1, -1, 2, 3, 64, 2**26, 2**63, 1e300, -1e300, 1e-300, 0.5, "", "\n", "../x", [], {}]
    values += [[0], [1, 4], [1, 1, 1], [1e300, -1e300], "action", "obs/gyro", "effort", "discrete", "command"]
    for _ in range(data.draw(st.integers(1, 3))):
        parent, key = manifest, None
        while isinstance(parent, (dict, list)) and parent:
            holder = parent
            keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
            key = data.draw(st.sampled_from(list(keys)))
            parent = holder[key]
            if data.draw(st.integers(0, 3)) == 0:
                break
        if key is not None:
            holder[key] = copy.deepcopy(data.draw(st.sampled_from(values)))
    use(relisted(folder, manifest))
