"""Fixtures shared by every test."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder beside the project with reference vectors, checkpoints and text."""
    return Path(__file__).parents[2] / "shared"
