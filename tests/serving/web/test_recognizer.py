from collections.abc import Callable
from typing import Any

from PIL import Image


def test_one_request_runs_at_a_time_and_the_last_drawing_is_answered(page: Any, drawings: Any) -> None:
    page.browser.execute_script("window.delay = 300")
    for stroke in drawings[4, "b"]:
        page.draw([stroke])
        page.wait_for(lambda: page.browser.execute_script("return window.underWay") > 0, "a request")
    assert "“4”." in page.last_answer()
    assert page.browser.execute_script("return window.mostUnderWay") == 1


def test_the_answer_to_a_cleared_drawing_is_dropped(page: Any, drawings: Any) -> None:
    page.browser.execute_script("window.delay = 2000")
    page.draw(drawings[3, "a"])
    page.wait_for(lambda: page.browser.execute_script("return window.asked.length") > 0, "a request")
    page.element("clear").click()
    assert page.browser.execute_script("return window.asked.every(({signal}) => signal.aborted)")
    page.wait_for(lambda: page.browser.execute_script("return window.underWay") == 0, "the end of the request")
    assert page.text("sentence") == "No picture yet."
    assert not page.element("problem").is_displayed()


def test_answers_during_a_stroke_are_not_announced(page: Any) -> None:
    page.hurry()
    page.browser.execute_script("""
        const paper = document.getElementById("paper");
        const box = paper.getBoundingClientRect();
        paper.setPointerCapture = () => {};
        window.send = (type, y) => paper.dispatchEvent(new PointerEvent(type, {
            pointerId: 1, isPrimary: true, button: 0, clientX: box.left + 200, clientY: box.top + y}));
        window.send("pointerdown", 60);
        for (let y = 60; y < 360; y += 10) { window.send("pointermove", y); }
    """)
    page.wait_for_label("1")
    page.wait_for_what_is_due()
    assert page.text("answer-heard") == ""
    page.browser.execute_script("window.send('pointerup', 360)")
    assert "It is “1”." in page.last_answer()


def test_an_empty_sheet_is_not_sent(page: Any, drawings: Any, sent_images: Callable[[Any], list[Image.Image]]) -> None:
    page.hurry()
    page.draw(drawings[1, "a"])
    page.wait_for_label("1")
    page.element("undo").click()
    page.wait_for_what_is_due()
    page.draw(drawings[3, "a"])
    page.wait_for_label("3")
    assert all(image.convert("L").getextrema()[0] == 0 for image in sent_images(page))
