"""The page in a browser, as a person uses it: a chat, the golden switch, colours, phone, keys."""

from collections.abc import Iterator
from typing import Any

import pytest

from front.serve.browser import FOUND, NAMES, Browser
from front.serve.serving import Served, said, served
from front.serve.test_limits import slow
from setun.firmware.image.image import Image

pytestmark = pytest.mark.skipif(FOUND is None, reason=f"needs one of {', '.join(NAMES)}")
TOKENS = 12
LAST = "document.querySelector('#log article:last-child')"
ANSWERED = f"{LAST} && {LAST}.className === 'model' && !{LAST}.hasAttribute('aria-busy')"
FOCUSED = "document.activeElement.id"
WIDE, PHONE = 1200, 360


@pytest.fixture(scope="module")
def server(image: Image) -> Iterator[Served]:
    with served(image, slow(image, 2)) as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, server: Served) -> Iterator[Browser]:
    """The page, just opened, of greedy answers of a few tokens."""
    browser.look()
    browser.open(server.url)
    browser.until("document.getElementById('model').textContent")
    put(browser, "temperature", "0")
    put(browser, "tokens", str(TOKENS))
    yield browser
    assert not browser.complaints


def put(page: Browser, name: str, value: str) -> None:
    page.value(f"document.getElementById('{name}').value = '{value}'")


def ask(page: Browser, text: str) -> None:
    page.value("document.getElementById('text').focus()")
    page.write(text)
    page.key("Enter")


def answer(page: Browser) -> str:
    return str(page.value(f"{LAST}.querySelector('.said').textContent"))


def test_a_streamed_chat(page: Browser, image: Image) -> None:
    ask(page, "ROMEO:")
    shown = (
        f"({LAST} || {{}}).className === 'model' ? {LAST}.querySelector('.said').textContent : ''"
    )
    seen = page.watched(shown, lambda: bool(page.value(ANSWERED)))
    first = said(image, "ROMEO:\n", TOKENS)
    assert seen[-1] == first and all(first.startswith(part) for part in seen)
    assert len(seen) > TOKENS // 2  # it came token by token
    assert f"{TOKENS} tokens" in page.value(f"{LAST}.querySelector('.note').textContent")
    # The next turn reads the first one, and the context has it already.
    ask(page, "JULIET:")
    page.until(f"{ANSWERED} && document.querySelectorAll('#log article').length === 4")
    assert answer(page) == said(image, f"ROMEO:\n{first}\nJULIET:\n", TOKENS)
    assert "were in the context" in page.value(f"{LAST}.querySelector('.note').textContent")


def test_the_golden_switch(page: Browser) -> None:
    page.value("document.getElementById('verify').click()")
    ask(page, "ROMEO:")
    page.until(ANSWERED)
    marked = page.value(
        f"[...{LAST}.querySelectorAll('.golden')].map((e) => e.textContent).join('')"
    )
    assert marked == answer(page) != ""
    note = page.value(f"{LAST}.querySelector('.note').textContent")
    assert f"{TOKENS} of {TOKENS} equal the golden model's" in note
    assert page.value(f"{LAST}.querySelector('.golden').title").endswith("the golden model's")


def test_errors_are_shown(page: Browser) -> None:
    ask(page, "€")
    page.until(f"!!({LAST} && {LAST}.querySelector('.error'))")
    assert "position 0" in page.value(f"{LAST}.querySelector('.error').textContent")
    # The browser tells of every reply that is an error.
    refused = [page.complaints.pop() for _ in page.complaints[:]]
    assert len(refused) == 1 and "400" in refused[0]


def colours(page: Browser, selector: str) -> tuple[list[float], list[float]]:
    """Of an element's text and of what lies behind it, each channel from 0 to 1."""
    found = page.value(
        f"""(() => {{
            const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
            let element = document.querySelector({selector!r});
            const text = numbers(getComputedStyle(element).color);
            let back = [0, 0, 0, 0];
            for (; element && back[3] === 0; element = element.parentElement) {{
                back = numbers(getComputedStyle(element).backgroundColor);
                if (back.length === 3) back.push(1);
            }}
            return [text.slice(0, 3), back.slice(0, 3)];
        }})()"""
    )
    text, back = ([channel / 255 for channel in colour] for colour in found)
    return text, back


def light(colour: list[float]) -> float:
    """Relative luminance, as WCAG 2 has it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return sum(part * share for part, share in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark(page: Browser, dark: bool) -> None:
    page.look(dark=dark)
    ask(page, "ROMEO:")
    page.until(ANSWERED)
    assert (light(colours(page, "body")[1]) < 0.1) is dark
    parts = ["h1", "#state", ".said", ".user h3", ".model .note", "#send", "dt", "dd", ".options"]
    for part in parts:
        low, high = sorted(map(light, colours(page, part)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, part


@pytest.mark.parametrize(("width", "touch"), [(WIDE, False), (PHONE, True)])
def test_widths(page: Browser, image: Image, width: int, touch: bool) -> None:
    """Nothing is cut off, whatever is touched is large enough, and an answer stays in sight."""
    page.look(width=width, touch=touch)
    ask(page, "ROMEO:")
    page.until(ANSWERED)
    assert answer(page) == said(image, "ROMEO:\n", TOKENS)
    assert page.value("document.documentElement.scrollWidth") <= width
    boxes: list[Any] = page.value(
        "[...document.querySelectorAll('button, textarea, input:not([type=checkbox]), label')]"
        ".filter((e) => e.offsetParent && !e.classList.contains('hidden'))"
        ".map((e) => { const b = e.getBoundingClientRect();"
        " return [e.id || e.textContent, b.left, b.right, b.height]; })"
    )
    assert len(boxes) >= 8
    for name, left, right, height in boxes:
        assert left >= 0 and right <= width and height >= 24, name
    top, bottom = page.value(
        f"(() => {{ const b = {LAST}.querySelector('.said').getBoundingClientRect();"
        " return [b.top, b.bottom]; })()"
    )
    assert top < page.value("document.getElementById('form').getBoundingClientRect().top")
    assert bottom > 0


def tabbed(page: Browser, name: str) -> None:
    """Go on by Tab until an element has the focus, which must be seen."""
    for presses in range(14):
        if presses:
            page.key("Tab")
        if page.value(FOCUSED) == name:
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert page.value(outline) == "solid"
            return
    raise AssertionError(f"Tab never reaches {name}")


def test_keys_alone(page: Browser) -> None:
    tabbed(page, "text")  # a screen without a mouse has not put it there
    page.write("ROMEO:")
    page.key("Enter", shift=True)
    page.write("Ay")
    assert page.value("document.getElementById('text').value") == "ROMEO:\nAy"
    tabbed(page, "verify")
    page.key(" ")
    assert page.value("document.getElementById('verify').checked") is True
    put(page, "tokens", "1000")
    tabbed(page, "text")
    page.key("Enter")
    page.until(f"({LAST} || {{}}).className === 'model' && !!{LAST}.querySelector('.golden')")
    page.key("Escape")
    page.until(ANSWERED)
    assert "stopped" in page.value(f"{LAST}.querySelector('.note').textContent")
    tabbed(page, "text")
    page.write("More")
    page.key("Enter")
    page.until("!document.getElementById('stop').disabled")
    tabbed(page, "stop")
    page.key("Enter")
    page.until(f"{ANSWERED} && document.querySelectorAll('#log article').length === 4")
    tabbed(page, "new")
    page.key(" ")
    page.until("document.querySelectorAll('#log article').length === 0")
    assert page.value("document.getElementById('hello').hidden") is False
