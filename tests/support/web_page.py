"""The web page in a real browser, with the actions of a user."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.interaction import POINTER_MOUSE
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

DESKTOP = (1280, 900)
# Far longer than any action takes: a busy machine may take a minute to load a version.
PATIENCE_SECONDS = 120

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

# WCAG 2.2, success criterion 1.4.3: contrast of text with the nearest ground that is painted, and its size in pixels.
_CONTRASTS = """
    const parse = (color) => color.match(/[\\d.]+/g).map(Number);
    const linear = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) =>
        0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const ground = (element) => {
        const color = parse(getComputedStyle(element).backgroundColor);
        return color.length === 3 || !element.parentElement ? color : ground(element.parentElement);
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (walker.currentNode.data.trim() && element.checkVisibility() && !element.closest("noscript")) {
            const { color, fill } = getComputedStyle(element);
            const [a, b] = [parse(element.closest("svg") ? fill : color), ground(element)].map(luminance);
            found.push([walker.currentNode.data.trim(), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
        }
    }
    return found;
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

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        root = "document.scrollingElement"
        return self.browser.execute_script(f"return {root}.scrollWidth - {root}.clientWidth")

    def text_contrasts(self) -> list[tuple[str, float]]:
        """The visible texts and their contrast."""
        return self.browser.execute_script(_CONTRASTS)

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


@contextmanager
def running_browser() -> Iterator[webdriver.Chrome]:
    """Runs Chromium without a window; skips the test without it, because nothing is downloaded."""
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
    try:
        chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _LISTENER})
        chrome.execute_cdp_cmd("Network.enable", {})
        yield chrome
    finally:
        chrome.quit()
