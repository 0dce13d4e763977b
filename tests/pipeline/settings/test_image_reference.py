import pytest

from pipeline.settings.image_reference import check_image_reference

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    "reference",
    [
        "digits",
        "digit-classifier:0.1.0",
        "team/digits__ml:Release_1",
        "localhost/digits",
        "localhost:5000/digits:1",
        "registry.example.com/a/b.c/d-e:latest",
        "Registry.Example.com:443/digits",
        "[2001:db8::1]:5000/digits",
        f"ghcr.io/team/digits@{DIGEST}",
        f"digits:1@{DIGEST}",
    ],
)
def test_names_that_kubernetes_reads(reference: str) -> None:
    assert check_image_reference(reference) == reference


@pytest.mark.parametrize(
    ("reference", "rule"),
    [
        ("Digits", "repository in lower case"),
        ("Team/digits", "repository in lower case"),
        ("registry.example.com/Digits:1", "repository in lower case"),
        ("", "HOST/REPOSITORY:TAG"),
        ("digits classifier", "HOST/REPOSITORY:TAG"),
        ("digits..x", "HOST/REPOSITORY:TAG"),
        ("-digits", "HOST/REPOSITORY:TAG"),
        ("team//digits", "HOST/REPOSITORY:TAG"),
        ("https://example.com/digits", "host of a registry"),
        ("example.com:port/digits", "host of a registry"),
        ("digits:", "as tag up to 128 letters"),
        ("digits:.1", "as tag up to 128 letters"),
        ("digits:1:2", "as tag up to 128 letters"),
        ("digits:" + "1" * 129, "as tag up to 128 letters"),
        ("digits@sha256:0a", "after @ a digest"),
        ("digits@", "after @ a digest"),
        ("a" * 256, "at most 255 characters"),
        ("{{$.inputs.parameters['image']}}", "HOST/REPOSITORY:TAG"),
        ("digits\n", "HOST/REPOSITORY:TAG"),
    ],
)
def test_the_rule_that_is_broken_is_named(reference: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        check_image_reference(reference)
