"""The port that a chip's mailbox is, against registers that keep the rules of docs/registers.md."""

import time

import pytest

from setun.firmware.config import ChipConfig
from setun.firmware.errors import SetunError
from setun.firmware.link import identity, mailbox
from setun.firmware.link.mailbox import IDENTITY, VERSION, MailboxPort, Register


class Box:
    """Registers with so much room in the link; what is written comes back once `talks`."""

    def __init__(self, room: int = 1023, identity: int = IDENTITY, version: int = VERSION) -> None:
        self.room, self.came, self.waits = room, bytearray(), bytearray()
        self.talks = self.closed = False
        self.constants = {Register.IDENTITY: identity, Register.VERSION: version}
        self.reads: list[int] = []

    def read(self, offset: int, /) -> int:
        self.reads.append(offset)
        if offset == Register.STATUS:
            return len(self.waits) | self.room << 16
        if offset != Register.READ:
            return self.constants[Register(offset)]
        part, self.waits = self.waits[:3], self.waits[3:]
        # What is said makes room again.
        self.room += len(part)
        return len(part) | int.from_bytes(part, "little") << 8

    def write(self, offset: int, value: int, /) -> None:
        assert offset == Register.WRITE
        part = (value >> 8).to_bytes(3, "little")[: value & 3]
        self.came += part
        self.room -= len(part)
        assert self.room >= 0, "a frame would be lost"
        if self.talks:
            self.waits += part

    def close(self) -> None:
        self.closed = True


def port_of(box: Box, timeout: float = 0.0) -> MailboxPort:
    port = MailboxPort(box, "axi:there")
    port.timeout = timeout
    return port


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 999])
def test_bytes_arrive(size: int) -> None:
    box, data = Box(), bytes(k % 251 for k in range(size))
    port = port_of(box)
    assert port.write(data) == size and box.came == data
    box.waits += data
    assert port.in_waiting == size
    assert port.read(2) == data[:2]
    assert port.in_waiting == size - len(data[:2])
    assert port.read(2000) == data[2:] and port.in_waiting == 0


def test_a_read_waits_for_one_byte_and_no_longer_than_its_timeout() -> None:
    box = Box()
    port = port_of(box, timeout=0.05)
    began = time.monotonic()
    assert port.read(4) == b"" and 0.05 <= time.monotonic() - began < 5
    box.waits += b"x"
    assert port.read(4) == b"x"


def test_a_write_takes_in_what_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    box, data = Box(room=40), bytes(range(256)) * 4
    box.talks = True
    port = port_of(box)
    assert port.write(data) == len(data) and box.came == data
    assert port.read(2000) == data
    silent = Box(room=40)
    monkeypatch.setattr(mailbox, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(OSError, match="takes no bytes"):
        port_of(silent).write(data)


def test_what_is_no_mailbox_is_refused() -> None:
    with pytest.raises(SetunError, match=r"axi:there: .*identity 4d544553; found 55544553"):
        MailboxPort(Box(identity=0x55544553), "axi:there")
    with pytest.raises(SetunError, match="mailbox of version 1; found 2"):
        MailboxPort(Box(version=2), "axi:there")
    box = Box()
    with port_of(box) as port:
        assert port.port == "axi:there"
    assert box.closed


@pytest.mark.parametrize(
    "more", [{}, {"memory": "axi4-64"}, {"token_bits": 18}, {"attention": 8, "head_norms": 1}]
)
def test_a_chip_says_that_it_has_one(more) -> None:  # type: ignore[no-untyped-def]
    config = ChipConfig(terminal=0, mailbox=1, **more)
    plain = config.override(mailbox=0)
    assert identity.decode(identity.encode(config)) == config
    assert identity.decode(identity.encode(plain)) == plain
    assert config.digest != plain.digest
    assert identity.encode(config)[0] == identity.encode(plain)[0] + 64


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"mailbox": 2, "terminal": 0}, "mailbox: must be 0 or 1; found 2"),
        ({"mailbox": 1}, "terminal: must be 0 with a mailbox"),
    ],
)
def test_refused(options, line) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SetunError, match=line):
        ChipConfig(**options)
