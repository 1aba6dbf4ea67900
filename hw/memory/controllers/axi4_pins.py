"""Pins of AXI4 and AXI4-Lite (ARM IHI 0022), by their standard names."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

INCR = 1  # burst type: each beat follows the one before
OKAY, SLVERR = 0, 2  # values of RRESP and BRESP


def axi4(data_bits: int, address_bits: int, id_bits: int = 1) -> wiring.Signature:
    """Pins of an AXI4 master: AW, W, B, AR and R, without the optional QoS, region and user."""
    channels: dict[str, wiring.Member] = {}
    for channel in ("aw", "ar"):
        channels |= {
            f"{channel}id": Out(id_bits),
            f"{channel}addr": Out(address_bits),
            f"{channel}len": Out(8),
            f"{channel}size": Out(3),
            f"{channel}burst": Out(2),
            f"{channel}lock": Out(1),
            f"{channel}cache": Out(4),
            f"{channel}prot": Out(3),
            f"{channel}valid": Out(1),
            f"{channel}ready": In(1),
        }
    return wiring.Signature(
        {
            **channels,
            "wdata": Out(data_bits),
            "wstrb": Out(data_bits // 8),
            "wlast": Out(1),
            "wvalid": Out(1),
            "wready": In(1),
            "bid": In(id_bits),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "rid": In(id_bits),
            "rdata": In(data_bits),
            "rresp": In(2),
            "rlast": In(1),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )


def axi4_lite(address_bits: int) -> wiring.Signature:
    """Pins of an AXI4-Lite master of 32-bit data."""
    return wiring.Signature(
        {
            "awaddr": Out(address_bits),
            "awprot": Out(3),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(32),
            "wstrb": Out(4),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "araddr": Out(address_bits),
            "arprot": Out(3),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(32),
            "rresp": In(2),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )
