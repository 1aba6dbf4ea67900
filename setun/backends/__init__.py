"""Where a model runs: golden model, simulated chip, chip on a serial port. One interface."""

from setun.backends.base import Backend, Sampling
from setun.backends.golden import GoldenBackend
from setun.backends.serial import SerialBackend
from setun.backends.simulated import SimulatedBackend

__all__ = ["Backend", "GoldenBackend", "Sampling", "SerialBackend", "SimulatedBackend"]
