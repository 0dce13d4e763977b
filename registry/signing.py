"""Signs versions with sigstore's `model-signing`, and decides whether a version may be used.

The signature is a file of the version. It covers all other files, including the provenance, by their hashes.
"""

import base64
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from registry.errors import UsageError
from registry.provenance import SIGNATURE_FILE, DamagedVersionError, Provenance, read_provenance, verify_files

# model-signing and cryptography are imported only where they are used: the import of model-signing takes a second.
if TYPE_CHECKING:
    from model_signing.hashing import Config as HashingConfig

_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_KEY_ADVICE = (
    "expected an elliptic-curve key (P-256, P-384 or P-521) in PEM format without a password; create one with "
    "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out private_key.pem`, and its public half with "
    "`openssl pkey -in private_key.pem -pubout -out public_key.pem`."
)


class SigningKeyError(UsageError):
    """A file is not a key that can sign or verify versions."""


class State(StrEnum):
    """The result of the check of a version."""

    VERIFIED = "verified"
    DEVELOPMENT_KEY = "development key"
    """The signature is valid, but `digits` created the key, for this workspace."""
    NOT_CHECKED = "not checked"
    """The files match the hashes in the signature, but no public key is set to check the signature itself."""
    OTHER_KEY = "other key"
    UNSIGNED = "unsigned"
    CHANGED = "changed"
    NO_PROVENANCE = "no provenance"


_ADVICE = {
    State.OTHER_KEY: "if you trust its signer, set signing.public_key to the signer's public key",
    State.UNSIGNED: "`digits run`, or a run on Kubeflow with kubeflow.signing_secret, pushes a signed version",
    State.NO_PROVENANCE: "remove it, or push a model with `digits run`",
}


@dataclass(frozen=True)
class VersionCheck:
    """The state of a version, and the reason if it must not be used: the file and what is wrong."""

    state: State
    reason: str = ""

    @property
    def refusal(self) -> str | None:
        """Why the version must not be used, and what to do; None if it is signed and nothing is wrong."""
        if not self.reason:
            return None
        # The reason of a changed version includes the advice.
        advice = f"; {_ADVICE[self.state]}." if self.state in _ADVICE else ""
        return f"{self.reason}{advice} To use it anyway, set signing.allow_unverified=true."


@dataclass(frozen=True)
class TrustPolicy:
    """Which versions may be used.

    Attributes:
        public_key: The key that must have signed a version, in PEM format: a file with the public or the private key,
            or the public key itself. Without it, only the hashes are checked.
        is_development: Whether this is a development key.
        allow_unverified: Whether any version may be used.
    """

    public_key: Path | bytes | None = None
    is_development: bool = False
    allow_unverified: bool = False

    @property
    def key_name(self) -> str:
        """The file of the public key, for messages."""
        return str(self.public_key) if isinstance(self.public_key, Path) else "the pipeline"

    def check(self, directory: Path, *, anywhere: bool = False) -> VersionCheck:
        """Checks a version.

        Args:
            directory: Folder of the version, named by its number, in the folder of its model.
            anywhere: Whether it may also be a copy in another folder or under another name.

        Raises:
            SigningKeyError: The public key is not readable as a key.
            OSError: The file of the public key cannot be read.
        """
        public_key = read_public_key(self.public_key) if self.public_key else None
        try:
            _require_regular_files(directory)
            provenance = read_provenance(directory)
            if provenance is None:
                reason = f"{directory}: has no provenance, so no pipeline has pushed it"
                return VersionCheck(State.NO_PROVENANCE, reason)
            signature = _read_signature(directory / SIGNATURE_FILE)
            verify_files(directory, provenance, signature.hashes if signature else None)
            if not anywhere:
                _verify_place(directory, provenance)
            if signature is None:
                return VersionCheck(State.UNSIGNED, f"{directory}: is not signed")
            if public_key is None:
                return VersionCheck(State.NOT_CHECKED)
            if signature.key_id != hashlib.sha256(public_key).hexdigest():
                return VersionCheck(State.OTHER_KEY, f"{directory}: is not signed with the key of {self.key_name}")
            _verify_signature(directory, public_key)
        except DamagedVersionError as error:
            return VersionCheck(State.CHANGED, str(error))
        except OSError as error:
            reason = f"{error.filename or directory}: cannot be read: {error.strerror}"
            return VersionCheck(State.CHANGED, f"{reason}; restore the file, or remove the version.")
        return VersionCheck(State.DEVELOPMENT_KEY if self.is_development else State.VERIFIED)

    def admits_baseline(self, directory: Path) -> bool:
        """Returns whether the pipeline may compare with a version, for which it runs the model of the version.

        Without a key, as on Kubeflow without a secret, the version need not be signed.
        """
        if self.public_key is None or self.allow_unverified:
            return self.check(directory).state not in (State.CHANGED, State.NO_PROVENANCE)
        return self.refusal(directory) is None

    def refusal(self, directory: Path) -> str | None:
        """Returns why a version must not be used and what to do, or None if it may be used."""
        return None if self.allow_unverified else self.check(directory).refusal


def sign(folder: Path, private_key: Path) -> None:
    """Adds the signature to the folder of a version, which must contain all other files.

    Raises:
        SigningKeyError: The file is not a private key that can sign.
        OSError: A file cannot be read or written.
    """
    from model_signing import signing

    if b"PRIVATE KEY" not in private_key.read_bytes():
        raise SigningKeyError(f"{private_key}: not a private key; {_KEY_ADVICE}")
    read_public_key(private_key)
    config = signing.Config().use_elliptic_key_signer(private_key=private_key)
    config.set_hashing_config(_hashing_config()).sign(folder, folder / SIGNATURE_FILE)


def read_public_key(key: Path | bytes) -> bytes:
    """Returns the public key, in PEM format, from a file with a public or private key, or from its content.

    Raises:
        SigningKeyError: The file is not a key that can sign or verify versions.
        OSError: The file cannot be read.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    name, content = ("public key", key) if isinstance(key, bytes) else (key, key.read_bytes())
    try:
        if b"PRIVATE KEY" in content:
            public_key = serialization.load_pem_private_key(content, None).public_key()
        else:
            public_key = serialization.load_pem_public_key(content)
    # TypeError: the key has a password.
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningKeyError(f"{name}: cannot be used as a key; {_KEY_ADVICE}") from error
    if not isinstance(public_key, EllipticCurvePublicKey) or public_key.curve.name not in _CURVES:
        raise SigningKeyError(f"{name}: another kind of key; {_KEY_ADVICE}")
    return public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def prepare_private_key(
    file: Path, public_key: Path | None, *, is_development: bool, say: Callable[[str], None]
) -> Path:
    """Checks the private key and returns its file; creates a development key if the file is missing.

    Args:
        file: The private key. The public half of a development key is next to it, with the suffix `.pub`.
        public_key: The public key of the settings, or None.
        is_development: Whether the private key may be created.
        say: Called with a message if a key was created.

    Raises:
        SigningKeyError: The file is not a key that can sign, or the public key does not match it.
        OSError: The file cannot be read or written.
    """
    if is_development and not file.exists():
        _create_key(file)
        say(f"Created {file}, a key for development; for production, create a key of your own: docs/signatures.md")
    if read_public_key(file) != read_public_key(public_key or file):
        raise SigningKeyError(
            f"{public_key}: not the public half of {file}, so the new version could not be used; set both "
            "signing.private_key and signing.public_key, or neither."
        )
    return file


def _create_key(file: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # Only its owner can read such a file.
    with NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.") as staging:
        staging.write(private)
        staging.flush()
        # Another process may have created its key at the same time.
        with suppress(FileExistsError):
            os.link(staging.name, file)
            file.with_suffix(".pub").write_bytes(public)


@dataclass(frozen=True)
class _Signature:
    key_id: str
    hashes: Mapping[str, str]


def _read_signature(file: Path) -> _Signature | None:
    """Reads what a signature claims, without a check of the signature itself."""
    try:
        bundle = json.loads(file.read_bytes())
        statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        hashes = {str(each["name"]): each["digest"] for each in statement["predicate"]["resources"]}
        return _Signature(bundle["verificationMaterial"]["publicKey"]["hint"], hashes)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedVersionError(f"{file}: not the signature of a version; restore the file.") from error


def _require_regular_files(directory: Path) -> None:
    """Refuses links and devices, which a push never writes: they could be read without end."""
    for path in directory.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise DamagedVersionError(f"{path}: not a regular file; remove the version, or restore the file.")


def _verify_place(directory: Path, provenance: Provenance) -> None:
    model = provenance.model or directory.parent.name
    if (model, str(provenance.version)) != (directory.parent.name, directory.name):
        raise DamagedVersionError(
            f"{directory}: a copy of version {provenance.version} of {model}; remove it, and use `digits rollback` to "
            "publish an older version again."
        )


def _verify_signature(directory: Path, public_key: bytes) -> None:
    from model_signing import verifying

    with NamedTemporaryFile() as file:
        file.write(public_key)
        file.flush()
        config = verifying.Config().use_elliptic_key_verifier(public_key=file.name)
    try:
        config.set_hashing_config(_hashing_config()).verify(directory, directory / SIGNATURE_FILE)
    except OSError:
        raise
    # The verifier raises errors of many types.
    except Exception as error:
        raise DamagedVersionError(
            f"{directory / SIGNATURE_FILE}: the signature is not valid ({error or type(error).__name__}); roll back to "
            "a verified version."
        ) from error


def _hashing_config() -> "HashingConfig":
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=[SIGNATURE_FILE], ignore_git_paths=False)
