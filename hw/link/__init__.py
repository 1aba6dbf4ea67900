"""Gateware of the serial link."""

from setun.hw.link.link import Link

__all__ = ["Link"]
