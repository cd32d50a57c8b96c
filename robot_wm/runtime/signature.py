"""Ed25519 signatures over the raw bytes of ``manifest.json``; keys are PEM files.

The same files work with openssl:
``openssl genpkey -algorithm ed25519 -out key.pem``, ``openssl pkey -in key.pem -pubout -out key.pub.pem``,
``openssl pkeyutl -verify -pubin -inkey key.pub.pem -rawin -in manifest.json -sigfile manifest.sig``.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from robot_wm.errors import UserError

SIGNATURE_BYTES = 64
_MAX_KEY_BYTES = 16 * 1024


def generate_key(private_path: Path) -> Path:
    """Write a new private key to ``private_path`` (mode 0600) and its public key beside it; returns the public path.

    ``robot.pem`` gets ``robot.pub.pem``. Raises UserError rather than overwrite either file.
    """
    public_path = private_path.with_suffix(".pub.pem")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = public_pem(key)
    if public_path.exists():
        raise UserError(f"{public_path}: exists; keys are never overwritten")
    for path, data, mode in ((private_path, private, 0o600), (public_path, public, 0o644)):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            raise UserError(f"{path}: exists; keys are never overwritten") from None
        except OSError as error:
            raise UserError(f"{path}: cannot write the key: {error.strerror}") from None
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
        except OSError as error:  # half a key would be in the way of the next one
            for half in (private_path, path):
                half.unlink(missing_ok=True)
            raise UserError(f"{path}: cannot write the key: {error.strerror}") from None
    return public_path


def public_pem(key: Ed25519PrivateKey) -> bytes:
    """The public half of ``key`` as the content of a PEM file."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Read an unencrypted PEM private key; raises UserError if it is not an Ed25519 one."""
    try:
        key = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UserError(f"{path}: not an unencrypted PEM private key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{path}: a private key of another kind; bundles are signed with Ed25519")
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Read a PEM public key; raises UserError if it is not an Ed25519 one."""
    try:
        key = load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm):
        raise UserError(f"{path}: not a PEM public key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise UserError(f"{path}: a public key of another kind; bundles are signed with Ed25519")
    return key


def sign(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """The 64 bytes of ``manifest.sig``."""
    return key.sign(manifest)


def require_signature(manifest: bytes, signature: bytes | None, key: Ed25519PublicKey, *, origin: str) -> None:
    """Refuse (UserError) a manifest that ``key`` did not sign; ``None`` is an unsigned one."""
    if signature is None:
        raise UserError(f"{origin}: not signed, but a public key is configured")
    try:
        key.verify(signature, manifest)
    except InvalidSignature:
        raise UserError(
            f"{origin}: the signature is not by the configured public key, or the manifest was changed"
        ) from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise UserError(f"{path}: cannot read the key: {error.strerror}") from None
