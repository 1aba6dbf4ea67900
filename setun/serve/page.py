"""The page: one file, and headers that let it load nothing else."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

FILE = Path(__file__).parent / "page.html"


@cache
def page() -> str:
    """The page's HTML."""
    return FILE.read_text("utf-8")


@cache
def page_headers() -> dict[str, str]:
    """Headers of the page: only its own script and style run, and it asks only this server."""
    allowed = {
        f"{name}-src": " ".join(f"'sha256-{_hash(text)}'" for text in _inline(tag))
        for name, tag in (("script", "script"), ("style", "style"))
    }
    policy = {
        "default-src": "'none'",
        **allowed,
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "content-security-policy": "; ".join(f"{key} {value}" for key, value in policy.items()),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }


def _inline(tag: str) -> list[str]:
    return re.findall(rf"<{tag}>(.*?)</{tag}>", page(), re.DOTALL)


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
