from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver.common.by import By

from tests.support.examples import SHAPES
from tests.support.serve_process import digits_serve
from tests.support.stand_in_model import StandIn

OpenPage = Callable[[StandIn | str], Any]

_ANSWER = {"label": "red", "classes": ["blue", "red"], "probabilities": [0.1, 0.9], "confidence": 0.9, "status": "ok"}
_SEEN = [[[255.0, 0.0, 0.0]] * 4] * 4


@pytest.fixture
def color_page(open_page: OpenPage) -> Any:
    """The page of a model that sees colors."""
    return open_page(StandIn(_ANSWER, _SEEN))


def test_a_color_model_takes_pictures_and_no_drawings(color_page: Any, drawings: Any, choose: Any) -> None:
    color_page.hurry()
    color_page.draw(drawings[1, "a"])
    color_page.wait_for_what_is_due()
    assert color_page.browser.execute_script("return window.asked.length") == 0
    choose(color_page, Image.new("RGB", (90, 60), "red"), "red.png")
    assert color_page.last_answer() == "It is “red”. 90.0 % sure"
    color_page.element("clear").click()
    assert color_page.element("invitation").text == "This model takes color pictures, not drawings"


def test_a_color_model_offers_no_drawing_by_keyboard(color_page: Any) -> None:
    assert color_page.element("paper").get_attribute("role") == "img"
    assert color_page.element("paper").get_attribute("tabindex") == "-1"
    assert not color_page.browser.find_element(By.TAG_NAME, "details").is_displayed()
    assert color_page.browser.find_element(By.TAG_NAME, "header").text == "What is it?\nDrop or paste a picture."


def test_a_gray_model_offers_drawing(open_page: OpenPage) -> None:
    page = open_page(StandIn(_ANSWER, [[0.0] * 4] * 4))
    assert page.element("invitation").text == "Draw here"
    assert page.element("paper").get_attribute("tabindex") == "0"
    assert page.browser.find_element(By.TAG_NAME, "header").text == (
        "What is it?\nDraw something, or drop or paste a picture."
    )


def test_classes_and_colors_come_from_the_server(
    open_page: OpenPage, tiny_model: Any, choose: Any, tmp_path: Path
) -> None:
    (tmp_path / "serving" / "digits").mkdir(parents=True)
    tiny_model(tmp_path / "serving" / "digits", 1, SHAPES.classes, SHAPES.image_shape)
    with digits_serve(tmp_path) as served:
        page = open_page(served.address("Web page"))
        assert page.element("paper").get_attribute("role") == "img"
        choose(page, Image.new("RGB", (SHAPES.width, SHAPES.height), "red"), "red.png")
        assert f"“{SHAPES.classes[1]}”" in page.last_answer()
        names = page.browser.find_elements(By.CSS_SELECTOR, "#bars .name")
        assert [name.text for name in names] == [*SHAPES.classes]
        assert page.console_errors() == []
