from collections.abc import Callable
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys


@pytest.fixture
def keys(page: Any) -> Callable[..., None]:
    """Presses keys one by one, in the focused element."""

    def press(*names: str) -> None:
        chain = ActionChains(page.browser, duration=0)
        for name in names:
            chain.send_keys(name)
        chain.perform()

    page.wait_for_model()
    press(Keys.TAB)
    assert page.browser.switch_to.active_element.get_attribute("id") == "paper"
    return press


def test_a_digit_is_drawn_by_keyboard_alone(page: Any, keys: Callable[..., None]) -> None:
    keys(*[Keys.UP] * 7, *[Keys.LEFT] * 3, Keys.SPACE, *[Keys.RIGHT] * 8, *[Keys.DOWN] * 4, Keys.LEFT, Keys.LEFT)
    keys(*[Keys.DOWN] * 9, Keys.SPACE)
    assert "It is “7”." in page.last_answer()


def test_two_held_arrows_move_the_pen_diagonally(page: Any, keys: Callable[..., None]) -> None:
    ActionChains(page.browser, duration=0).key_down(Keys.LEFT).send_keys(Keys.DOWN * 3).key_up(Keys.LEFT).perform()
    keys(Keys.DOWN)
    page.wait_for(lambda: page.text("pen-heard") == "Column 6, row 14 of 20.", "four to the left, and four down")


def test_the_pen_is_visible_and_announced(page: Any, keys: Callable[..., None]) -> None:
    assert page.element("pen").is_displayed()
    keys(Keys.UP, Keys.RIGHT)
    page.wait_for(lambda: page.text("pen-heard") == "Column 11, row 9 of 20.", "where the pen is")
    keys(Keys.SPACE)
    page.wait_for(lambda: page.text("pen-heard") == "Pen down. Column 11, row 9 of 20.", "that it is down")
    keys(Keys.DOWN, Keys.SPACE)
    page.wait_for(lambda: page.text("pen-heard") == "Pen up.", "that it is up")
    ActionChains(page.browser, duration=0).key_down(Keys.SHIFT).send_keys(Keys.DOWN).key_up(Keys.SHIFT).perform()
    page.wait_for(lambda: page.text("pen-heard") == "Column 11, row 10.25 of 20.", "a quarter of a square")
    keys(Keys.TAB)
    assert not page.element("pen").is_displayed()


def test_the_pen_stays_on_the_sheet(page: Any, keys: Callable[..., None]) -> None:
    keys(*[Keys.LEFT] * 25, *[Keys.DOWN] * 25)
    page.wait_for(lambda: page.text("pen-heard") == "Column 0, row 20 of 20.", "the corner")


def test_keys_undo_and_clear(page: Any, keys: Callable[..., None]) -> None:
    keys(Keys.SPACE, Keys.DOWN, Keys.SPACE, Keys.DELETE)
    page.wait_for(lambda: page.text("pen-heard") == "Cleared.", "that it is cleared")
    assert page.element("invitation").is_displayed()
    keys(Keys.BACKSPACE)
    page.wait_for(lambda: page.text("pen-heard") == "Undone.", "that it is undone")
    assert not page.element("invitation").is_displayed()


def test_leaving_the_sheet_lifts_the_pen(page: Any, keys: Callable[..., None]) -> None:
    keys(Keys.SPACE, *[Keys.DOWN] * 8, Keys.TAB)
    page.wait_for(lambda: page.text("pen-heard") == "Pen up.", "that it is up")
    page.last_answer()


def test_a_pointer_takes_over_from_the_keyboard(page: Any, keys: Callable[..., None], drawings: Any) -> None:
    keys(Keys.SPACE)
    page.draw(drawings[3, "a"])
    page.wait_for_label("3")
    assert not page.element("pen").is_displayed()
