"""Slow links between two network namespaces: each link is a pair of TUN devices, and a relay that forwards
packets with the link's rate, delay and queue size.

A kernel queue (tc-tbf) would be in the sender's host, where TCP observes it and keeps it short; a
slow link is usually elsewhere on the path, where TCP does not."""

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
TUN_WITHOUT_HEADERS = 0x0001 | 0x1000  # IFF_TUN | IFF_NO_PI
CLONE_NEWNET = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """An unnamed network namespace, which is removed when this process exits."""

    def __init__(self):
        thread = threading.Thread(target=self._make)
        thread.start()
        thread.join()

    def _make(self):
        check(libc.unshare(CLONE_NEWNET))
        self.file = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def enter(self):
        """Moves the calling thread into the namespace: its new sockets are in it."""
        check(libc.setns(self.file, CLONE_NEWNET))


def check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Link:
    """A link between the server's namespace and the clients'."""

    def __init__(self, number, bits_per_second, queue_bytes, delay):
        self.number = number
        self.forward = Direction(bits_per_second / 8, queue_bytes, delay)
        self.backward = Direction(bits_per_second / 8, queue_bytes, delay)

    @property
    def server(self):
        return f"10.77.{self.number}.1"

    @property
    def client(self):
        return f"10.77.{self.number}.2"

    def fail(self):
        """Drops all packets from now on, silently."""
        self.forward.is_down = self.backward.is_down = True


class Loopback:
    """The loopback in the server's namespace, where one packet may be larger than a window."""

    def __init__(self, number):
        self.server = "127.0.0.1"
        self.client = f"127.77.{number}.2"


class Direction:
    """One direction of a link."""

    def __init__(self, rate, queue_bytes, delay):
        self.rate, self.queue_bytes, self.delay = rate, queue_bytes, delay
        self.is_down = False
        self.sending_until = 0
        self.source = self.sink = None

    def forward_packets(self, loop):
        """Reads all available packets, and schedules their delivery. Drops packets that exceed the queue."""
        with contextlib.suppress(BlockingIOError):
            while packet := os.read(self.source, MTU):
                begins = max(loop.time(), self.sending_until)
                waiting = (begins - loop.time()) * self.rate
                if packet[0] >> 4 == 4 and waiting + len(packet) <= self.queue_bytes:
                    self.sending_until = begins + len(packet) / self.rate
                    loop.call_at(self.sending_until + self.delay, self.deliver, packet)

    def deliver(self, packet):
        if not self.is_down:
            os.write(self.sink, packet)


@contextlib.contextmanager
def running(links):
    """Runs the links from the namespace of this process to a new one for clients, which it yields."""
    clients = Namespace()
    for link in links:
        link.forward.source = link.backward.sink = tun(f"link{link.number}")
    configure((link, link.server) for link in links)

    def set_up_clients():
        clients.enter()
        for link in links:
            link.backward.source = link.forward.sink = tun(f"link{link.number}")
        configure((link, link.client) for link in links)

    def relay():
        asyncio.set_event_loop(loop)
        for link in links:
            for direction in (link.forward, link.backward):
                loop.add_reader(direction.source, direction.forward_packets, loop)
        loop.run_forever()

    setup = threading.Thread(target=set_up_clients)
    setup.start()
    setup.join()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield clients
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def tun(name):
    """Creates a TUN device in the namespace of this thread; its packets are read from the returned file."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", name.encode(), TUN_WITHOUT_HEADERS))
    return file


def configure(addresses):
    lines = ["link set dev lo up"]
    for link, address in addresses:
        device = f"dev link{link.number}"
        lines += [f"address add {address}/24 {device}", f"link set {device} mtu {MTU} up"]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
