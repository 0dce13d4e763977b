"""The web page in a real browser, with `digits serve` and a trained model."""

import base64
import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from selenium import webdriver

from tests.support.serve_process import digits_serve
from tests.support.stand_in_model import StandIn, serve_page
from tests.support.web_page import DESKTOP, Page, Stroke, running_browser

PROJECT_ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    """Chromium, for all tests of the page."""
    with running_browser() as chrome:
        yield chrome


@pytest.fixture(scope="session")
def serving_root(first_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A serving folder with a trained model as version 1 of `digits`."""
    assert first_run.exit_code == 0, first_run.shown
    root = tmp_path_factory.mktemp("served") / "serving"
    shutil.copytree(first_run.result["model"], root / "digits" / "1")
    return root


@pytest.fixture(scope="session")
def server_url(browser: webdriver.Chrome, serving_root: Path) -> Iterator[str]:
    """The page of a running `digits serve`; not started if there is no browser."""
    with digits_serve(serving_root.parent) as served:
        yield served.address("Web page")


@pytest.fixture
def page(browser: webdriver.Chrome, server_url: str) -> Iterator[Page]:
    """The page, just opened on a desktop in the light theme."""
    page = Page(browser, server_url)
    page.resize(*DESKTOP)
    page.set_theme("light")
    page.open()
    page.console_errors(), page.requested_urls()
    yield page
    page.set_online(True)


@pytest.fixture
def open_page(browser: webdriver.Chrome) -> Iterator[Callable[[StandIn | str], Page]]:
    """Opens the page of a stand-in for a model, or of a server by its URL, as `page` does with a trained model."""
    with ExitStack() as servers:

        def open_page(model: StandIn | str) -> Page:
            page = Page(browser, model if isinstance(model, str) else servers.enter_context(serve_page(model)))
            page.resize(*DESKTOP)
            page.set_theme("light")
            page.open()
            page.wait_for_model()
            return page

        yield open_page


@pytest.fixture(scope="session")
def drawings() -> dict[tuple[int, str], list[Stroke]]:
    """The strokes of each digit by two writers."""
    samples = json.loads((PROJECT_ROOT / "data" / "samples" / "strokes.json").read_text())
    return {(sample["digit"], sample["variant"]): sample["strokes"] for sample in samples}


@pytest.fixture(scope="session")
def render() -> Callable[..., Image.Image]:
    """Draws strokes as a picture, dark on white."""

    def draw(strokes: Sequence[Stroke], size: tuple[int, int] = (300, 300), mode: str = "RGB") -> Image.Image:
        image = Image.new(mode, size, "white")
        side = min(size)
        for stroke in strokes:
            points = [(x * side, y * side) for x, y in stroke]
            ImageDraw.Draw(image).line(points, fill="#222", width=side // 14, joint="curve")
        return image

    return draw


@pytest.fixture(scope="session")
def sent_images() -> Callable[[Page], list[Image.Image]]:
    """The images in the requests of the page, the oldest first."""

    def decode(page: Page) -> list[Image.Image]:
        contents = page.browser.execute_script("return window.asked.map(({instances}) => instances[0].b64)")
        return [Image.open(io.BytesIO(base64.b64decode(content))) for content in contents]

    return decode


@pytest.fixture
def choose(tmp_path: Path) -> Callable[..., None]:
    """Saves an image as a file with this name and chooses it on a page."""

    def save_and_choose(page: Page, image: Image.Image, name: str, **options: Any) -> None:
        image.save(tmp_path / name, **options)
        page.element("picture").send_keys(str(tmp_path / name))

    return save_and_choose
