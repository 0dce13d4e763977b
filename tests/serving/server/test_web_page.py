from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp import web

from serving.server.web_page import WEB_DIRECTORY, WebPage

Running = Any


def test_the_page_is_sent_with_headers_that_keep_it_to_itself(running: Running) -> None:
    response = requests.get(f"{running.addresses.rest_url}/", timeout=60)
    assert response.content == (WEB_DIRECTORY / "index.html").read_bytes()
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_scripts_have_the_type_that_browsers_insist_on(running: Running) -> None:
    script = next(WEB_DIRECTORY.glob("*.js")).name
    response = requests.get(f"{running.addresses.rest_url}/{script}", timeout=60)
    assert response.headers["Content-Type"].split("/")[1] == "javascript"


@pytest.mark.parametrize("path", ["/../contract.py", "/%2e%2e/contract.py", "/..%2fcontract.py", "//etc/passwd"])
def test_nothing_else_of_the_disk_is_sent(running: Running, path: str) -> None:
    with requests.Session() as session:
        prepared = session.prepare_request(requests.Request("GET", running.addresses.rest_url))
        # As it is: clients usually tidy such paths up.
        prepared.url = running.addresses.rest_url + path
        assert session.send(prepared, timeout=60).status_code == 404


def test_without_files_there_is_no_page(tmp_path: Path) -> None:
    page = WebPage(tmp_path / "web")
    assert not page.is_there
    assert page.find("/") is None


def test_hidden_files_are_not_sent(tmp_path: Path) -> None:
    (tmp_path / ".secret").touch()
    (tmp_path / "index.html").touch()
    page = WebPage(tmp_path)
    assert page.find("/.secret") is None
    assert isinstance(page.find("/"), web.FileResponse)
