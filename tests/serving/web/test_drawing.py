from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver.common.actions.interaction import POINTER_PEN, POINTER_TOUCH
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys


@pytest.mark.parametrize("digit", range(10))
def test_a_drawn_digit_is_recognized(page: Any, drawings: Any, digit: int) -> None:
    page.draw(drawings[digit, "a"])
    assert f" “{digit}”." in page.last_answer()
    assert page.text("label") == str(digit)
    assert page.text("sentence").endswith(f" “{digit}”.")


@pytest.mark.slow
def test_digits_of_another_writer_are_recognized(page: Any, drawings: Any) -> None:
    answers = []
    for digit in range(10):
        page.open()
        page.draw(drawings[digit, "b"])
        page.last_answer()
        answers.append(page.text("label"))
    # The model was trained on 6 % of the images for seconds; it may misread other handwriting.
    assert sum(answer == str(digit) for digit, answer in enumerate(answers)) >= 8, answers


@pytest.mark.parametrize("kind", [POINTER_TOUCH, POINTER_PEN])
def test_drawing_with_touch_and_pen(page: Any, drawings: Any, kind: str) -> None:
    page.draw(drawings[3, "a"], kind)
    page.wait_for_label("3")


def test_drawing_by_touch_does_not_scroll_the_page(page: Any) -> None:
    style = "return getComputedStyle(document.getElementById(arguments[0])).touchAction"
    assert page.browser.execute_script(style, "paper") == "none"
    assert page.browser.execute_script(style, "answer") == "auto"


def test_undo_removes_strokes_one_by_one(page: Any, drawings: Any) -> None:
    page.draw(drawings[1, "a"])
    page.wait_for_label("1")
    page.draw([[[0.2, 0.2], [0.8, 0.2]], [[0.2, 0.8], [0.8, 0.8]]])
    page.element("undo").click()
    page.browser.find_element(By.TAG_NAME, "body").send_keys(Keys.CONTROL, "z")
    page.wait_for_label("1")
    page.element("undo").click()
    assert page.text("label") == ""
    assert not page.element("undo").is_enabled()
    assert page.element("invitation").is_displayed()


def test_clear_empties_the_sheet_and_can_be_undone(page: Any, drawings: Any) -> None:
    page.draw(drawings[4, "a"])
    page.wait_for_label("4")
    page.element("clear").click()
    assert page.text("sentence") == "No picture yet."
    assert not page.element("clear").is_enabled()
    page.element("undo").click()
    page.wait_for_label("4")


def test_requests_are_dark_on_white_in_both_themes(
    page: Any, drawings: Any, sent_images: Callable[[Any], list[Image.Image]]
) -> None:
    for theme in ("light", "dark"):
        page.set_theme(theme)
        page.open()
        page.draw(drawings[0, "a"])
        page.wait_for_label("0")
        image = sent_images(page)[-1].convert("L")
        assert image.size == (280, 280)
        assert image.getpixel((0, 0)) == 255
        assert image.getextrema() == (0, 255)
