"""The page: one file that loads nothing, whose parts have names."""

import base64
import hashlib
import re
from html.parser import HTMLParser

from front.serve.serving import Served


class Parts(HTMLParser):
    """Elements with their attributes, and what stands in scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.inside: list[str] = []
        self.texts: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        self.inside.append(tag)

    def handle_data(self, data: str) -> None:
        if self.inside and self.inside[-1] in ("script", "style", "title"):
            self.texts[self.inside[-1]] = self.texts.get(self.inside[-1], "") + data

    def handle_endtag(self, tag: str) -> None:
        while self.inside and self.inside.pop() != tag:
            pass


def test_the_page(golden: Served) -> None:
    with golden.client() as client:
        reply = client.get("/")
    text, policy = reply.text, reply.headers["content-security-policy"]
    parts = Parts(text)
    names = [attributes["id"] for _, attributes in parts.found if "id" in attributes]
    assert len(names) == len(set(names))
    # Nothing from elsewhere, and no other script than this one.
    assert not re.search(r"https?://|//\w|@import|url\(", text)
    assert not any("src" in attributes for _, attributes in parts.found)
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(parts.texts[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "innerHTML" not in text
    # Every name that the script asks for is there, and every label's.
    assert set(re.findall(r"\$\(\"([\w-]+)\"\)", text)) <= set(names)
    for _, attributes in parts.found:
        for key in ("for", "aria-labelledby"):
            assert set(attributes.get(key, "").split()) <= set(names)
    assert 'lang="en"' in text and "prefers-color-scheme: dark" in text


def test_what_the_page_reads(golden: Served) -> None:
    with golden.client() as client:
        told = client.get("/chip").json()
    assert set(told) == {"model", "backend", "verify", "max_tokens", "waiting", "boards"}
    (board,) = told["boards"]
    assert board["chip"] is None and board["up"] is True and board["contexts"] == 2
    assert told["model"]["weights"] == golden.image.weights
