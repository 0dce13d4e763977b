"""The web page at `/`: the files of `serving/web`, with headers that keep a browser from anything else."""

from pathlib import Path
from urllib.parse import unquote

from aiohttp import web

WEB_DIRECTORY = Path(__file__).parents[1] / "web"

_INDEX = "index.html"
_HEADERS = {
    "Cache-Control": "no-cache",
    # Nothing is loaded from elsewhere, but a model elsewhere may be asked: the page's parameter `server`.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' http: https:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class WebPage:
    """Finds the files of the page."""

    def __init__(self, directory: Path = WEB_DIRECTORY) -> None:
        """Lists the files that may be sent.

        Args:
            directory: Where they are; there may be none.
        """
        # What is not in the list is not sent, whatever a path looks like.
        files = (path for path in directory.rglob("*") if path.is_file() and not path.name.startswith("."))
        self._files = {f"/{path.relative_to(directory).as_posix()}": path for path in files}
        if f"/{_INDEX}" in self._files:
            self._files["/"] = self._files[f"/{_INDEX}"]

    @property
    def is_there(self) -> bool:
        """Whether there is a page at `/`."""
        return "/" in self._files

    def find(self, path: str) -> web.StreamResponse | None:
        """Gives the file that a URL path names, or None."""
        file = self._files.get(unquote(path))
        return web.FileResponse(file, headers=_HEADERS) if file else None
