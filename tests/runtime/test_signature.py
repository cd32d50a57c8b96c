"""Ed25519 keys and signatures, ours and openssl's."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from robot_wm.errors import UserError
from robot_wm.runtime.signature import generate_key, load_private_key, load_public_key, require_signature, sign


def test_a_generated_pair_signs_and_verifies(tmp_path):
    public = load_public_key(generate_key(tmp_path / "robot.pem"))
    assert (tmp_path / "robot.pem").stat().st_mode & 0o777 == 0o600
    signature = sign(b"manifest", load_private_key(tmp_path / "robot.pem"))
    require_signature(b"manifest", signature, public, origin="x")
    for manifest, given, naming in (
        (b"manifesT", signature, "changed"),
        (b"manifest", signature[:-1] + bytes([signature[-1] ^ 1]), "changed"),
        (b"manifest", b"", "changed"),
        (b"manifest", None, "not signed"),
    ):
        with pytest.raises(UserError, match=naming):
            require_signature(manifest, given, public, origin="x")


def test_keys_are_never_overwritten(tmp_path):
    generate_key(tmp_path / "robot.pem")
    before = (tmp_path / "robot.pem").read_bytes()
    with pytest.raises(UserError, match="exists"):
        generate_key(tmp_path / "robot.pem")
    (tmp_path / "robot.pub.pem").unlink()
    with pytest.raises(UserError, match="exists"):
        generate_key(tmp_path / "robot.pem")
    assert (tmp_path / "robot.pem").read_bytes() == before
    with pytest.raises(UserError, match="cannot write"):
        generate_key(tmp_path / "missing" / "robot.pem")


def test_other_keys_are_refused(tmp_path):
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encrypted = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    cases = {
        "rsa.pem": (
            other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            load_private_key,
            "another",
        ),
        "encrypted.pem": (encrypted, load_private_key, "unencrypted"),
        "text.pem": (b"not a key", load_private_key, "not an"),
        "rsa.pub.pem": (
            other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            load_public_key,
            "another",
        ),
        "text.pub.pem": (b"not a key", load_public_key, "not a PEM"),
    }
    for name, (content, load, naming) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=naming) as caught:
            load(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(UserError, match="cannot read"):
        load_public_key(tmp_path / "missing.pem")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_makes_our_keys_and_checks_our_signatures(tmp_path):
    key, public, manifest, signature = (tmp_path / name for name in ("key.pem", "pub.pem", "manifest.json", "sig"))
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    manifest.write_bytes(b"manifest")
    signature.write_bytes(sign(b"manifest", load_private_key(key)))
    require_signature(b"manifest", signature.read_bytes(), load_public_key(public), origin="x")
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        public,
        "-rawin",
        "-in",
        manifest,
        "-sigfile",
        signature,
    ]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    manifest.write_bytes(b"manifesT")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
