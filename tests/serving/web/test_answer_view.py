import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from PIL import Image

from tests.support.stand_in_model import StandIn

OpenPage = Callable[[StandIn], Any]
LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")

_SEEN = """
    const seen = document.getElementById("seen");
    return [...seen.getContext("2d").getImageData(0, 0, seen.width, seen.height).data];
"""
_BARS = """
    return [...document.querySelectorAll("#bars li")].map((bar) => [
        bar.querySelector(".name").textContent, bar.querySelector(".value").textContent.replace("\u00a0", " ")]);
"""


def answer_of(classes: Sequence[str], shares: Mapping[str, float], status: str = "ok") -> dict[str, Any]:
    """The answer of a model; classes without a share have the probability 0."""
    label = max(shares, key=lambda name: shares[name])
    probabilities = [shares.get(name, 0.0) for name in classes]
    confidence = shares[label]
    label = "" if status == "blank" else label
    answer = {"label": label, "classes": classes, "probabilities": probabilities, "confidence": confidence}
    return {**answer, "status": status}


def test_the_answer_is_complete(page: Any, drawings: Any) -> None:
    page.draw(drawings[8, "a"])
    words = page.last_answer()
    assert words.startswith("It is “8”. ")
    assert words.endswith(" % sure")
    meters = page.browser.execute_script("""
        return [...document.querySelectorAll("[role=meter]")].map((meter) => [
            Number(meter.ariaValueNow), meter.ariaValueText, meter.parentElement.querySelector(".value").textContent])
    """)
    assert len(meters) == 10
    assert sum(value for value, _, _ in meters) == pytest.approx(1, abs=1e-4)
    assert max(meters) == meters[8]
    assert all(text.endswith("%") for pair in meters for text in pair[1:])
    assert page.text("latency").endswith(" ms")
    assert page.text("version").isdigit()


def test_the_image_that_the_model_sees_is_shown(page: Any, drawings: Any) -> None:
    page.draw(drawings[8, "a"])
    page.last_answer()
    asked = page.browser.execute_script("return window.asked.at(-1)")
    request = "const [url, body, done] = arguments; fetch(url, {method: 'POST', body}).then((r) => r.json()).then(done)"
    body = {"signature_name": "normalize", "instances": asked["instances"]}
    rows = page.browser.execute_async_script(request, asked["url"], json.dumps(body))["predictions"][0]
    seen = page.browser.execute_script(_SEEN)[::4]
    assert max(seen) > 200, "ink is light, as in MNIST"
    assert seen == pytest.approx([value for row in rows for value in row], abs=0.5)


@pytest.mark.parametrize(
    ("shares", "status", "words"),
    [
        ({"7": 0.6, "1": 0.31, "9": 0.09}, "low_confidence", "Perhaps “7”. Unsure: 60.0 %, and 31.0 % for “1”"),
        ({"0": 0.9999, "1": 0.0001}, "ok", "It is “0”. Over 99.9 % sure"),
        ({"0": 0.1, "1": 0.1}, "blank", "Nothing to read. There is no ink in this picture."),
    ],
    ids=["low confidence", "not rounded to 100 %", "blank"],
)
def test_answers_become_sentences(
    open_page: OpenPage, drawings: Any, shares: dict[str, float], status: str, words: str
) -> None:
    page = open_page(StandIn(answer_of(tuple("0123456789"), shares, status), [[0.0] * 28] * 28))
    page.draw(drawings[7, "a"])
    assert page.last_answer() == words


def test_of_many_classes_the_most_probable_ones_are_shown(open_page: OpenPage, drawings: Any) -> None:
    shares = {name: 0.1 - 0.01 * rank for rank, name in enumerate("QOCDGUJSXYZ")}
    page = open_page(StandIn(answer_of(LETTERS, shares), [[0.0] * 20] * 30))
    page.draw(drawings[0, "a"])
    page.wait_for_label("Q")
    bars = page.browser.execute_script(_BARS)
    assert bars == [[name, f"{100 * shares[name]:.1f} %"] for name in "QOCDGUJSXY"]
    assert page.text("others") == "and 16 more classes"
    assert page.element("seen").get_attribute("aria-label") == "What the model sees: 30 by 20 pixels"
    page.element("clear").click()
    assert [value for _, value in page.browser.execute_script(_BARS)] == ["–"] * 10


def test_the_tile_shows_short_names_only(open_page: OpenPage, drawings: Any) -> None:
    for classes, is_shown in ((("Ä", "Ö"), True), (("Ä", "other"), False)):
        page = open_page(StandIn(answer_of(classes, {"Ä": 1.0}), [[0.0]]))
        page.draw(drawings[0, "a"])
        assert page.last_answer() == "It is “Ä”. 100.0 % sure"
        assert page.element("label").is_displayed() == is_shown


def test_names_of_classes_are_never_markup(open_page: OpenPage, drawings: Any) -> None:
    name = "<img src=x onerror=alert(1)>"
    page = open_page(StandIn(answer_of((name, "b"), {name: 0.5, "b": 0.4}, "low_confidence"), [[0.0]]))
    page.draw(drawings[0, "a"])
    assert page.last_answer().startswith(f"Perhaps “{name}”.")
    assert page.browser.execute_script("return document.querySelectorAll('#answer img, #answer-heard img').length") == 0


def test_colors_that_the_model_sees_are_shown(open_page: OpenPage, choose: Callable[..., None]) -> None:
    page = open_page(StandIn(answer_of(("a", "b"), {"a": 1.0}), [[[255.0, 0.0, 0.0], [0.0, 127.6, 255.0]]]))
    choose(page, Image.new("RGB", (40, 20), "red"), "red.png")
    page.last_answer()
    assert page.browser.execute_script(_SEEN) == [255, 0, 0, 255, 0, 128, 255, 255]
