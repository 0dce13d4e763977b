"""What a page says, without a browser."""

from collections import defaultdict
from html.parser import HTMLParser

_VOID = {"meta", "link", "img", "br"}


class Parsed(HTMLParser):
    """The text of a page, its loads, and the rows of its tables by the title of the section."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.used: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.plots: list[str] = []
        self.text = ""
        self.title = ""
        self.rows: dict[str, list[list[str]]] = defaultdict(list)
        self.feed(html)
        self.close()
        assert self.tags == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.used.add(tag)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.images += [values] if tag == "img" else []
        self.plots += [values["aria-label"] or ""] if values.get("role") == "img" else []
        if tag == "h2":
            self.title = ""
        if tag == "tr":
            self.rows[self.title].append([])
        if tag in ("td", "th"):
            assert tag == "td" or values["scope"] in ("row", "col")
            self.rows[self.title][-1].append("")
        if tag not in _VOID:
            self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.tags.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.tags or "title" in self.tags:
            return
        self.text += data.replace("\xa0", " ") + " "
        if "h2" in self.tags:
            self.title += data.strip()
        if {"td", "th"} & set(self.tags):
            row = self.rows[self.title][-1]
            row[-1] = f"{row[-1]}{data}".replace("\xa0", " ").strip()
