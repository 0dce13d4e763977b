import base64
import json
import os
import shutil
import stat
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from registry.provenance import PROVENANCE_FILE, SIGNATURE_FILE, Origin
from registry.publishing import PublishingError, UnverifiedVersionError, publish, usable_version
from registry.signing import (
    SigningKeyError,
    State,
    TrustPolicy,
    prepare_private_key,
    read_public_key,
    sign,
)
from registry.versions import Version, list_versions, newest_usable
from tests.support.saved_models import make_model

VARIABLES = "variables/variables.index"


def make_key(file: Path) -> Path:
    return prepare_private_key(file, None, is_development=True, say=lambda line: None)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Our key, and somebody else's."""
    folder = tmp_path_factory.mktemp("keys")
    return make_key(folder / "ours.pem"), make_key(folder / "theirs.pem")


@pytest.fixture
def version(tmp_path: Path, keys: tuple[Path, Path]) -> Version:
    """A signed version."""
    return publish(
        make_model(tmp_path / "model", "weights"), tmp_path / "serving" / "digits", {}, Origin(), private_key=keys[0]
    )


def rewrite(directory: Path) -> None:
    """Changes variables, and their hash in the provenance."""
    (directory / VARIABLES).write_text("other weights")
    provenance = json.loads((directory / PROVENANCE_FILE).read_text())
    provenance["files"][VARIABLES] = sha256(b"other weights").hexdigest()
    (directory / PROVENANCE_FILE).write_text(json.dumps(provenance))


def rewrite_with_manifest(directory: Path) -> None:
    """Also changes the hashes in the signature."""
    rewrite(directory)
    bundle = json.loads((directory / SIGNATURE_FILE).read_text())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    digest = sha256()
    for resource in statement["predicate"]["resources"]:
        resource["digest"] = sha256((directory / resource["name"]).read_bytes()).hexdigest()
        digest.update(bytes.fromhex(resource["digest"]))
    statement["subject"][0]["digest"]["sha256"] = digest.hexdigest()
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    (directory / SIGNATURE_FILE).write_text(json.dumps(bundle))


def replace_signature(directory: Path, keys: tuple[Path, Path]) -> None:
    """Rewrites a version and signs it with another key under the name of ours."""
    rewrite(directory)
    sign(directory, keys[1])
    ours, theirs = (sha256(read_public_key(key)).hexdigest() for key in keys)
    text = (directory / SIGNATURE_FILE).read_text()
    (directory / SIGNATURE_FILE).write_text(text.replace(theirs, ours))


def flip_byte(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def link(file: Path) -> None:
    """Replaces a file by a link to a file with the same content."""
    target = file.parents[3] / "elsewhere"
    shutil.move(file, target)
    file.symlink_to(target)


def replace_by(file: Path, create: Callable[[Path], object]) -> None:
    file.unlink()
    create(file)


def endless(file: Path) -> None:
    file.symlink_to("/dev/zero")


def rename_in_manifest(directory: Path, path: str, name: object) -> None:
    bundle = json.loads((directory / SIGNATURE_FILE).read_text())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"]).decode()
    payload = payload.replace(f'"name":"{path}"', f'"name":{name}').replace(f'"name": "{path}"', f'"name": {name}')
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload.encode()).decode()
    (directory / SIGNATURE_FILE).write_text(json.dumps(bundle))


def add(file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("added")


def edit_provenance(file: Path) -> None:
    file.write_text(file.read_text().replace('"rolled_back_to": null', '"rolled_back_to": 17'))


@pytest.mark.parametrize(
    ("tamper", "place"),
    [
        pytest.param(lambda folder: flip_byte(folder / VARIABLES), VARIABLES, id="flipped byte"),
        pytest.param(lambda folder: flip_byte(folder / "saved_model.pb"), "saved_model.pb", id="changed constant"),
        pytest.param(lambda folder: (folder / VARIABLES).unlink(), VARIABLES, id="missing file"),
        pytest.param(lambda folder: add(folder / "assets" / "vocabulary.txt"), "assets/vocabulary.txt", id="added"),
        pytest.param(lambda folder: add(folder / ".git" / "config"), ".git/config", id="added to ignored folder"),
        pytest.param(rewrite, VARIABLES, id="rewritten with provenance"),
        pytest.param(rewrite_with_manifest, SIGNATURE_FILE, id="rewritten with manifest"),
        pytest.param(lambda folder: edit_provenance(folder / PROVENANCE_FILE), PROVENANCE_FILE, id="provenance"),
        pytest.param(lambda folder: (folder / PROVENANCE_FILE).write_text("{"), PROVENANCE_FILE, id="no JSON"),
        pytest.param(lambda folder: (folder / SIGNATURE_FILE).write_text("{}"), SIGNATURE_FILE, id="no signature"),
        pytest.param(lambda folder: link(folder / VARIABLES), VARIABLES, id="link"),
        pytest.param(lambda folder: replace_by(folder / VARIABLES, os.mkfifo), VARIABLES, id="pipe"),
        pytest.param(lambda folder: replace_by(folder / PROVENANCE_FILE, endless), PROVENANCE_FILE, id="endless"),
        pytest.param(lambda folder: (folder / "loop").symlink_to(folder), "loop", id="loop of folders"),
        pytest.param(lambda folder: rename_in_manifest(folder, VARIABLES, 5), "5", id="a name of a wrong type"),
    ],
)
def test_a_changed_version_is_refused_and_its_file_is_named(
    version: Version, keys: tuple[Path, Path], tamper: Callable[[Path], None], place: str
) -> None:
    policy = TrustPolicy(keys[0].with_suffix(".pub"))
    assert policy.check(version.directory).state is State.VERIFIED
    tamper(version.directory)
    assert policy.check(version.directory).state is State.CHANGED
    with pytest.raises(UnverifiedVersionError, match=f"^{version.directory / place}: "):
        usable_version(version.directory.parent, version.number, policy)
    assert usable_version(version.directory.parent, None, TrustPolicy(allow_unverified=True)).number == version.number


def test_a_signature_of_another_key_that_names_ours_is_refused(version: Version, keys: tuple[Path, Path]) -> None:
    replace_signature(version.directory, keys)
    assert "the signature is not valid" in (TrustPolicy(keys[0]).refusal(version.directory) or "")


@pytest.mark.parametrize(
    ("tamper", "state", "message"),
    [
        (lambda folder, keys: sign(folder, keys[1]), State.OTHER_KEY, r"is not signed with the key of .*ours\.pub; if"),
        (
            lambda folder, keys: (folder / SIGNATURE_FILE).unlink(),
            State.UNSIGNED,
            "is not signed; `digits run`, or a run on Kubeflow with kubeflow.signing_secret, pushes",
        ),
        (
            lambda folder, keys: (folder / PROVENANCE_FILE).unlink(),
            State.NO_PROVENANCE,
            "has no provenance, so no pipeline has pushed it; remove it",
        ),
    ],
)
def test_a_version_that_is_not_signed_with_our_key_is_refused(
    version: Version, keys: tuple[Path, Path], tamper: Callable[..., None], state: State, message: str
) -> None:
    policy = TrustPolicy(keys[0].with_suffix(".pub"))
    rewrite(version.directory)
    tamper(version.directory, keys)
    assert policy.check(version.directory).state is state
    with pytest.raises(UnverifiedVersionError, match=f"^{version.directory}: {message}"):
        usable_version(version.directory.parent, None, policy)
    assert newest_usable(version.directory.parent, policy) is None


def test_an_old_version_cannot_return_under_another_number_or_name(version: Version, keys: tuple[Path, Path]) -> None:
    newer = version.directory.with_name(str(version.number + 1))
    other = version.directory.parent.with_name("fashion") / version.directory.name
    for copy in (newer, other):
        shutil.copytree(version.directory, copy)
        refusal = TrustPolicy(keys[0]).refusal(copy)
        assert refusal
        assert refusal.startswith(f"{copy}: a copy of version {version.number} of digits; remove it")


def test_without_a_key_only_the_hashes_are_checked(version: Version, keys: tuple[Path, Path]) -> None:
    assert TrustPolicy().check(version.directory).state is State.NOT_CHECKED
    rewrite(version.directory)
    assert TrustPolicy().check(version.directory).state is State.CHANGED
    sign(version.directory, keys[1])
    assert TrustPolicy().refusal(version.directory) is None


def test_a_development_key_is_named(version: Version, keys: tuple[Path, Path]) -> None:
    assert TrustPolicy(keys[0], is_development=True).check(version.directory).state is State.DEVELOPMENT_KEY


def test_a_development_key_is_created_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    said: list[str] = []
    file = tmp_path / "key.pem"
    for _ in range(2):
        assert prepare_private_key(file, None, is_development=True, say=said.append) == file
    assert said == [
        f"Created {file}, a key for development; for production, create a key of your own: docs/signatures.md"
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_public_key(tmp_path / "key.pub") == read_public_key(file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key.pem", "key.pub"]
    with pytest.raises(FileNotFoundError, match=r"mine\.pem"):
        prepare_private_key(tmp_path / "mine.pem", None, is_development=False, say=said.append)


def test_a_key_whose_versions_could_not_be_used_is_refused(keys: tuple[Path, Path]) -> None:
    ours, theirs = keys
    assert prepare_private_key(ours, ours.with_suffix(".pub"), is_development=False, say=print) == ours
    with pytest.raises(SigningKeyError, match=f"^{theirs}: not the public half of {ours}"):
        prepare_private_key(ours, theirs, is_development=True, say=print)


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_keys_of_all_curves_sign(version: Version, tmp_path: Path, curve: ec.EllipticCurve) -> None:
    (tmp_path / "key.pem").write_bytes(pem(ec.generate_private_key(curve)))
    sign(version.directory, tmp_path / "key.pem")
    assert TrustPolicy(tmp_path / "key.pem").check(version.directory).state is State.VERIFIED


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(lambda: pem(ec.generate_private_key(ec.SECP256R1()), b"secret"), "cannot be used", id="password"),
        pytest.param(lambda: pem(ec.generate_private_key(ec.SECP256K1())), "another kind of key", id="curve"),
        pytest.param(lambda: pem(rsa.generate_private_key(65537, 2048)), "another kind of key", id="RSA"),
        pytest.param(lambda: b"key", "cannot be used", id="text"),
    ],
)
def test_a_file_that_is_not_a_key_is_named(
    tmp_path: Path, version: Version, content: Callable[[], bytes], reason: str
) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(content())
    for use in (
        lambda: prepare_private_key(file, None, is_development=False, say=print),
        lambda: TrustPolicy(file).check(version.directory),
    ):
        with pytest.raises(SigningKeyError, match=f"^{file}: {reason}.*openssl genpkey"):
            use()


def test_a_model_is_pushed_again_if_its_version_is_not_signed_with_the_key(
    version: Version, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    origin = Origin(pipeline_run="run")

    def push(key: Path | None) -> int:
        return publish(tmp_path / "model", version.directory.parent, {}, origin, key).number

    assert push(keys[0]) == version.number
    assert push(keys[1]) == push(keys[1]) == version.number + 1
    # Only versions with this key count.
    newest = push(keys[0])
    assert push(keys[0]) == newest == version.number + 2
    (version.directory.with_name(str(newest)) / VARIABLES).write_text("changed")
    assert push(keys[0]) == newest + 1


def test_a_version_is_signed_before_it_is_visible(
    tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = tmp_path / "serving" / "digits"
    seen = []

    def sign_and_look(folder: Path, private_key: Path) -> None:
        sign(folder, private_key)
        seen.append(list_versions(serving))

    monkeypatch.setattr("registry.publishing.sign", sign_and_look)
    version = publish(make_model(tmp_path / "model", "weights"), serving, {}, Origin(), keys[0])
    assert (seen, list_versions(serving)) == ([[]], [version])
    # A key that cannot sign leaves nothing behind.
    for key, error in ((keys[0].with_suffix(".pub"), SigningKeyError), (tmp_path / "none.pem", PublishingError)):
        with pytest.raises(error, match=str(key)):
            publish(tmp_path / "model", serving, {}, Origin(), key)
    assert [path.name for path in serving.iterdir() if path.name != ".lock"] == [version.directory.name]
