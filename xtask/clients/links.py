"""Slow links between two network namespaces: two TUN devices each, and what passes packets on between
them at the rate of the link, late by its delay, and no more of them than its queue holds.

A queue of the kernel's own (tc-tbf) would be in the sender's host, where TCP sees it and keeps it short;
a slow link is mostly somewhere on the way, where it does not."""

import asyncio
import contextlib
import ctypes
import fcntl
import os
import struct
import subprocess
import threading

MTU = 1500

TUNSETIFF = 0x400454CA
TUN_WITHOUT_HEADS = 0x0001 | 0x1000  # IFF_TUN | IFF_NO_PI
CLONE_NEWNET = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace without a name, which ends with this process."""

    def __init__(self):
        thread = threading.Thread(target=self._make)
        thread.start()
        thread.join()

    def _make(self):
        check(libc.unshare(CLONE_NEWNET))
        self.file = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def enter(self):
        """Sockets that the calling thread makes from here on are in it."""
        check(libc.setns(self.file, CLONE_NEWNET))


def check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Link:
    """A way from the server's namespace to the clients', and back."""

    def __init__(self, number, bits_per_second, queue_bytes, delay):
        self.number = number
        self.there = Direction(bits_per_second / 8, queue_bytes, delay)
        self.back = Direction(bits_per_second / 8, queue_bytes, delay)

    @property
    def server(self):
        return f"10.77.{self.number}.1"

    @property
    def client(self):
        return f"10.77.{self.number}.2"

    def die(self):
        """From here on nothing arrives, and nobody is told."""
        self.there.is_dead = self.back.is_dead = True


class Loopback:
    """A way within the server's namespace. There one packet may be larger than a window."""

    def __init__(self, number):
        self.server = "127.0.0.1"
        self.client = f"127.77.{number}.2"


class Direction:
    """What a link does to the packets of one side."""

    def __init__(self, rate, queue_bytes, delay):
        self.rate, self.queue_bytes, self.delay = rate, queue_bytes, delay
        self.is_dead = False
        self.busy_until = 0
        self.source = self.sink = None

    def pass_on(self, loop):
        """Takes every packet that is there, and lets it arrive when its time has come."""
        with contextlib.suppress(BlockingIOError):
            while packet := os.read(self.source, MTU):
                begins = max(loop.time(), self.busy_until)
                waiting = (begins - loop.time()) * self.rate
                if packet[0] >> 4 == 4 and waiting + len(packet) <= self.queue_bytes:
                    self.busy_until = begins + len(packet) / self.rate
                    loop.call_at(self.busy_until + self.delay, self.arrive, packet)

    def arrive(self, packet):
        if not self.is_dead:
            os.write(self.sink, packet)


@contextlib.contextmanager
def running(links):
    """Runs the links from the namespace of this process to one for clients, which it gives."""
    clients = Namespace()
    for link in links:
        link.there.source = link.back.sink = tun(f"link{link.number}")
    configure((link, link.server) for link in links)

    def there():
        clients.enter()
        for link in links:
            link.back.source = link.there.sink = tun(f"link{link.number}")
        configure((link, link.client) for link in links)

    def relay():
        asyncio.set_event_loop(loop)
        for link in links:
            for direction in (link.there, link.back):
                loop.add_reader(direction.source, direction.pass_on, loop)
        loop.run_forever()

    beyond = threading.Thread(target=there)
    beyond.start()
    beyond.join()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield clients
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def tun(name):
    """A device in the namespace of this thread; what is sent by way of it is read from the file."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", name.encode(), TUN_WITHOUT_HEADS))
    return file


def configure(addresses):
    lines = ["link set dev lo up"]
    for link, address in addresses:
        device = f"dev link{link.number}"
        lines += [f"address add {address}/24 {device}", f"link set {device} mtu {MTU} up"]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
