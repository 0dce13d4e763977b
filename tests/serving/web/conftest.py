"""The web page in a real browser, with `digits serve` and a trained model."""

import base64
import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.interaction import POINTER_MOUSE
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.serve_process import digits_serve
from tests.support.stand_in_model import StandIn, serve_page

PROJECT_ROOT = Path(__file__).parents[3]
DESKTOP = (1280, 900)
# Far longer than any action takes: the machine may be slow.
PATIENCE_SECONDS = 30

# Records the requests of the page and the maximum number of concurrent ones; `window.delay` slows the server down, and
# `window.hurry` skips all pauses of the page.
_LISTENER = """
    Object.assign(window, {asked: [], underWay: 0, mostUnderWay: 0, delay: 0, hurry: false});
    const realFetch = window.fetch;
    const realSetTimeout = window.setTimeout;
    window.setTimeout = (act, pause) => realSetTimeout(act, window.hurry ? 0 : pause);
    window.fetch = async (url, options = {}) => {
        if (options.body) { window.asked.push({url, signal: options.signal, ...JSON.parse(options.body)}); }
        window.mostUnderWay = Math.max(window.mostUnderWay, ++window.underWay);
        try {
            await new Promise((resolve) => realSetTimeout(resolve, options.body ? window.delay : 0));
            return await realFetch(url, options);
        } finally { window.underWay -= 1; }
    };
"""

Stroke = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Page:
    """The page, with the actions of a user."""

    browser: webdriver.Chrome
    url: str

    def open(self, query: str = "") -> None:
        self.browser.get(self.url + query)

    def element(self, identifier: str) -> WebElement:
        return self.browser.find_element(By.ID, identifier)

    def text(self, identifier: str) -> str:
        """The text of an element, visible or for screen readers only."""
        return str(self.element(identifier).get_property("textContent")).replace("\u00a0", " ").strip()

    def wait_for(self, condition: Callable[[], Any], expected: str) -> Any:
        try:
            return WebDriverWait(self.browser, PATIENCE_SECONDS, 0.05).until(lambda _: condition())
        except TimeoutException:
            pytest.fail(f"expected {expected}; the page says {self.text('answer')!r}")

    def wait_for_label(self, label: str) -> None:
        self.wait_for(lambda: self.text("label") == label, f"the answer {label}")

    def wait_for_model(self) -> None:
        self.wait_for(lambda: self.text("version") != "–", "the version of the model")

    def last_answer(self) -> str:
        """The announced answer, once the pause after drawing is over."""
        return self.wait_for(lambda: self.text("answer-heard"), "an answer that is said")

    def draw(self, strokes: Sequence[Stroke], kind: str = POINTER_MOUSE) -> None:
        """Draws strokes of points in the unit square."""
        box = self.browser.execute_script("return document.getElementById('paper').getBoundingClientRect().toJSON()")
        actions = ActionBuilder(self.browser, mouse=PointerInput(kind, kind), duration=0)
        for stroke in strokes:
            for index, (x, y) in enumerate(stroke):
                place = (round(box["left"] + x * box["width"]), round(box["top"] + y * box["height"]))
                actions.pointer_action.move_to_location(*place)
                if index == 0:
                    actions.pointer_action.pointer_down()
            actions.pointer_action.pointer_up()
        actions.perform()

    def resize(self, width: int, height: int, *, touch: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": touch})

    def set_theme(self, theme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def set_online(self, online: bool) -> None:
        conditions = {"offline": not online, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.browser.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)

    def console_errors(self) -> list[str]:
        """The errors in the browser's console since the last call."""
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]

    def hurry(self) -> None:
        """Skips all pauses of the page."""
        self.browser.execute_script("window.hurry = true")

    def wait_for_what_is_due(self) -> None:
        """Runs all pending timers of a page in a hurry."""
        self.browser.execute_async_script("const [done] = arguments; setTimeout(() => setTimeout(done))")

    def requested_urls(self) -> list[str]:
        """The URLs that the browser has requested since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    """Chromium without a window; nothing is downloaded."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs Chromium and its driver: on Debian, apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Containers run as root, where Chromium's sandbox does not start, and have little shared memory.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _LISTENER})
    chrome.execute_cdp_cmd("Network.enable", {})
    yield chrome
    chrome.quit()


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
