import json
from typing import Any

import pytest

_SEEN = """
    const seen = document.getElementById("seen");
    const {data} = seen.getContext("2d").getImageData(0, 0, 28, 28);
    return [...data].filter((_, index) => index % 4 === 0);
"""


def answer_with(page: Any, **answer: Any) -> None:
    """Replaces the answer to every later request of the page."""
    bodies = {"serving_default": {"predictions": [answer]}, "normalize": {"predictions": [[[0.0] * 28] * 28]}}
    page.wait_for(lambda: page.text("version") != "–", "the version of the model")
    page.browser.execute_script(
        "const bodies = arguments[0]; window.fetch = async (url, {body}) => "
        "new Response(JSON.stringify(bodies[JSON.parse(body).signature_name]));",
        bodies,
    )


def test_the_answer_is_complete(page: Any, drawings: Any) -> None:
    page.draw(drawings[8, "a"])
    words = page.last_answer()
    assert words.startswith("It is an 8. ")
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
    seen = page.browser.execute_script(_SEEN)
    assert max(seen) > 200, "ink is light, as in MNIST"
    assert seen == pytest.approx([value for row in rows for value in row], abs=0.5)


def test_low_confidence_is_shown(page: Any, drawings: Any) -> None:
    probabilities = [0.0, 0.31, 0, 0, 0, 0, 0, 0.6, 0, 0.09]
    answer_with(page, probabilities=probabilities, digit=7, confidence=0.6, status="low_confidence")
    page.draw(drawings[7, "a"])
    assert page.last_answer() == "Perhaps a 7. Unsure: 60.0 %, and 31.0 % for 1"


def test_a_confidence_below_1_is_not_rounded_to_100_percent(page: Any, drawings: Any) -> None:
    answer_with(page, probabilities=[0.9999] + [0.00001] * 9, digit=0, confidence=0.9999, status="ok")
    page.draw(drawings[0, "a"])
    assert page.last_answer() == "It is a 0. Over 99.9 % sure"
