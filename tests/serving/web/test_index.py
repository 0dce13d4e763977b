import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from tests.support.stand_in_model import StandIn

CONTROLS = {
    ("application", "Draw here"),
    ("button", "Undo"),
    ("button", "Clear"),
    ("button", "Open a picture"),
    ("button", "Try again"),
    ("DisclosureTriangle", "Draw by keyboard"),
}


def accessible_names(page: Any) -> list[tuple[str, str]]:
    nodes = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    return [(node["role"]["value"], node["name"]["value"]) for node in nodes if "name" in node and not node["ignored"]]


def test_every_control_has_an_accessible_name(page: Any) -> None:
    page.open("?model=clothes")
    page.wait_for(lambda: page.element("problem").is_displayed(), "a problem, with its button")
    roles = {role for role, _ in CONTROLS}
    names = [(role, re.sub(": No file chosen$", "", name)) for role, name in accessible_names(page)]
    assert sorted(control for control in names if control[0] in roles) == sorted(CONTROLS)


def test_a_phone_offers_its_camera_and_names_the_same_controls(page: Any) -> None:
    page.resize(390, 844, touch=True)
    page.open()
    names = {re.sub(": No file chosen$", "", name).lower() for role, name in accessible_names(page) if role == "button"}
    assert names == {"undo", "clear", "open a picture", "take a photo"}
    assert page.element("photo").get_attribute("capture") == "environment"


def test_no_requests_to_other_origins_and_no_console_errors(page: Any, drawings: Any) -> None:
    page.open()
    page.draw(drawings[9, "a"])
    page.wait_for_label("9")
    urls = page.requested_urls()
    assert any(url.endswith(":predict") for url in urls)
    assert {urlsplit(url).netloc for url in urls} == {urlsplit(page.url).netloc}
    assert page.console_errors() == []


@pytest.mark.parametrize("width", [320, 390, 768])
def test_the_page_fits_the_window(page: Any, drawings: Any, width: int) -> None:
    page.resize(width, 800, touch=width < 500)
    page.open()
    assert page.overflow() == 0
    page.draw(drawings[9, "a"])
    page.wait_for_label("9")
    assert page.overflow() == 0


@pytest.mark.parametrize("width", [320, 1280])
def test_long_names_fit_the_window(open_page: Callable[[StandIn], Any], choose: Any, width: int) -> None:
    classes = ["Donaudampfschifffahrtsgesellschaftskapitänsmütze", "红色的圆形" * 20, "a red circle on a blue square"]
    probabilities = [0.4, 0.35, 0.25]
    answer = {"label": classes[0], "classes": classes, "probabilities": probabilities, "confidence": 0.4}
    page = open_page(StandIn({**answer, "status": "unsure"}, [[[0.0, 0.0, 0.0]] * 8] * 8))
    page.resize(width, 800, touch=width < 500)
    choose(page, Image.new("RGB", (30, 20)), "picture.png")
    assert page.last_answer().startswith(f"Perhaps “{classes[0]}”.")
    assert page.overflow() == 0
    heights = page.browser.execute_script(
        "return [...document.querySelectorAll('#bars li')].map((e) => e.clientHeight)"
    )
    assert max(heights) < 60


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_enough_contrast(page: Any, drawings: Any, theme: str) -> None:
    page.set_theme(theme)
    page.open("?model=clothes")
    page.wait_for(lambda: page.element("problem").is_displayed(), "a problem, with its text")
    contrasts = page.text_contrasts()
    page.open()
    page.draw(drawings[9, "a"])
    page.wait_for_label("9")
    contrasts += page.text_contrasts()
    assert len(contrasts) > 40
    assert [(text, round(ratio, 2)) for text, ratio in contrasts if ratio < 4.5] == []


def test_the_theme_follows_the_system(page: Any) -> None:
    grounds = []
    for theme in ("light", "dark"):
        page.set_theme(theme)
        grounds.append(page.browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(244, 241, 234)", "rgb(20, 23, 27)"]
