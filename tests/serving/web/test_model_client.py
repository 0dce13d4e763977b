import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from selenium.webdriver.common.by import By

from tests.support.stand_in_model import StandIn, serve_page


@pytest.fixture
def page_elsewhere() -> Iterator[str]:
    """Serves the page alone; the model is on another origin."""
    with serve_page() as url:
        yield url


def push_again(serving_root: Path) -> int:
    """Publishes the newest version again, atomically like a run."""
    versions = sorted((serving_root / "digits").iterdir(), key=lambda path: int(path.name))
    beside = serving_root.parent / "beside"
    shutil.copytree(versions[-1], beside)
    version = int(versions[-1].name) + 1
    beside.rename(serving_root / "digits" / str(version))
    return version


def is_only_version(url: str, version: int) -> bool:
    statuses = requests.get(f"{url}v1/models/digits", timeout=30).json()["model_version_status"]
    available = [status["version"] for status in statuses if status["state"] == "AVAILABLE"]
    return available == [str(version)]


def test_both_requests_go_to_the_version_that_is_shown(page: Any, drawings: Any) -> None:
    page.draw(drawings[6, "a"])
    assert "“6”." in page.last_answer()
    asked = page.browser.execute_script("return window.asked.map(({url, signature_name}) => [url, signature_name])")
    url = f"{page.url}v1/models/digits/versions/{page.text('version')}:predict"
    assert asked[-2:] == [[url, "serving_default"], [url, "normalize"]]


def test_a_new_version_takes_over_while_the_page_is_open(page: Any, drawings: Any, serving_root: Path) -> None:
    page.draw(drawings[6, "a"])
    page.wait_for_label("6")
    version = push_again(serving_root)
    page.wait_for(lambda: is_only_version(page.url, version), f"version {version} to be served")
    page.element("clear").click()
    page.draw(drawings[3, "a"])
    page.wait_for_label("3")
    assert page.text("version") == str(version)
    assert not page.element("problem").is_displayed()


def test_requests_to_another_origin_need_no_preflight(page: Any, page_elsewhere: str, drawings: Any) -> None:
    page.browser.get(f"{page_elsewhere}?server={page.url}")
    page.requested_urls()
    page.draw(drawings[3, "a"])
    assert "“3”." in page.last_answer()
    assert page.text("server") == page.url.rstrip("/")
    assert page.element("server").is_displayed()
    asked = page.browser.execute_script("return window.asked.length")
    assert len([url for url in page.requested_urls() if ":predict" in url]) == asked


def test_a_server_that_is_down_is_named_and_retried(page: Any, drawings: Any) -> None:
    page.wait_for_model()
    page.set_online(False)
    page.draw(drawings[3, "a"])
    sentence = f"The server at {page.url.rstrip('/')} does not answer."
    page.wait_for(lambda: page.text("problem-sentence") == sentence, sentence)
    assert page.text("problem-remedy") == "Check that it runs (digits serve starts one)."
    assert page.text("sentence") == "No answer."
    page.set_online(True)
    page.element("try-again").click()
    page.wait_for_label("3")
    assert not page.element("problem").is_displayed()


def test_a_link_cannot_send_drawings_to_another_server(page: Any, page_elsewhere: str) -> None:
    page.open(f"?server={page_elsewhere}")
    sentence = f"The server at {page_elsewhere.rstrip('/')} does not answer."
    page.wait_for(lambda: page.text("problem-sentence") == sentence, sentence)
    assert "both servers allow each other (--allow-host)" in page.text("problem-remedy")
    assert any("Content Security Policy" in error for error in page.console_errors())


def test_an_invalid_server_url_is_named(page: Any) -> None:
    page.open("?server=localhost:8501")
    sentence = "The server at localhost:8501 does not answer."
    page.wait_for(lambda: page.text("problem-sentence") == sentence, sentence)
    assert "?server=http://HOST:PORT" in page.text("problem-remedy")


def test_a_missing_model_is_named(page: Any) -> None:
    page.open("?model=clothes")
    page.wait_for(lambda: page.element("problem").is_displayed(), "a problem")
    assert page.text("problem-sentence") == "The server has no model “clothes”."
    assert "?model=NAME" in page.text("problem-remedy")


@pytest.mark.parametrize(
    ("status", "body", "sentence", "remedy"),
    [
        (400, '{"error": "no ink."}', "The server refuses this request: no ink.", "Try another picture."),
        (413, "<html>", "The server fails, with HTTP status 413.", "Use a smaller picture."),
        (429, '{"error": "full"}', "The server fails, with HTTP status 429: full.", "Try again in a moment."),
        (500, "<html>", "The server fails, with HTTP status 500.", "look at the server's log"),
        (200, '{"predictions": [[0.5]]}', "The model “digits” does not answer as an image classifier does.", "?model="),
    ],
    ids=["refused", "too large", "overloaded", "failed", "foreign"],
)
def test_error_responses_become_sentences(
    page: Any, drawings: Any, status: int, body: str, sentence: str, remedy: str
) -> None:
    answer = "const [status, body] = arguments; window.fetch = async () => new Response(body, {status});"
    page.wait_for_model()
    page.browser.execute_script(answer, status, body)
    page.draw(drawings[3, "a"])
    page.wait_for(lambda: page.text("problem-sentence") == sentence, sentence)
    assert remedy in page.text("problem-remedy")


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("LOADING", "The model “clothes” is not ready: version 5 is LOADING."),
        ("AVAILABLE", "The model “clothes” does not answer as an image classifier does."),
    ],
    ids=["loading", "without signatures"],
)
def test_a_version_that_cannot_answer_is_named(page: Any, state: str, sentence: str) -> None:
    body = json.dumps({"model_version_status": [{"version": "5", "state": state}]})
    page.wait_for_model()
    page.open("?model=clothes")
    page.wait_for(lambda: page.element("problem").is_displayed(), "a problem")
    page.browser.execute_script("const [body] = arguments; window.fetch = async () => new Response(body);", body)
    page.element("try-again").click()
    page.wait_for(lambda: page.text("problem-sentence") == sentence, sentence)


@pytest.mark.parametrize(
    ("digit", "status", "words"),
    [(7, "ok", "It is “7”. 55.0 % sure"), (-1, "blank", "Nothing to read. There is no ink in this picture.")],
)
def test_a_version_that_answers_digits_is_readable(
    open_page: Callable[[StandIn], Any], drawings: Any, digit: int, status: str, words: str
) -> None:
    probabilities = [0.05] * 7 + [0.55, 0.05, 0.05]
    answer = {"digit": digit, "probabilities": probabilities, "confidence": 0.55, "status": status}
    page = open_page(StandIn(answer, [[0] * 28] * 28))
    page.draw(drawings[7, "a"])
    assert page.last_answer() == words
    names = [each.text for each in page.element("bars").find_elements(By.CLASS_NAME, "name")]
    assert names == [str(each) for each in range(10)]
