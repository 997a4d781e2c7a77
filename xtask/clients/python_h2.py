"""Python's h2 and wsproto with the server: WebSockets on streams of one HTTP/2 connection, with and without
TLS, together with refused requests; the limit of streams; SIGTERM closes all sessions and sends GOAWAY."""

import contextlib
import importlib.metadata
import socket
import ssl

import h2.config
import h2.connection
import h2.events
import h2.settings
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, PingFrame
from wsproto import Connection, ConnectionType
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Ping, Pong, TextMessage

from endpoint import STEP_TIMEOUT, CheckFailed, certificate, expect, run, running_server

ALLOWED = "https://allowed.example"


class Http2:
    """A client connection, and the events on its streams."""

    def __init__(self, address, cafile=None, open_socket=socket.create_connection):
        self.socket = open_socket(address, STEP_TIMEOUT)
        self.authority = f"localhost:{address[1]}"
        if cafile:
            context = ssl.create_default_context(cafile=cafile)
            context.set_alpn_protocols(["h2", "http/1.1"])
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
            expect("the protocol agreed on", "h2", self.socket.selected_alpn_protocol())
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http.initiate_connection()
        self.seen = []
        self.wait_for(h2.events.RemoteSettingsChanged)
        setting = self.http.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL)
        expect("SETTINGS_ENABLE_CONNECT_PROTOCOL", 1, setting)

    def wait_for(self, kind, stream=None):
        """Waits for the next event of a kind, optionally on one stream."""
        while True:
            for event in self.seen:
                if isinstance(event, kind) and stream in (None, getattr(event, "stream_id", None)):
                    self.seen.remove(event)
                    return event
            self.socket.sendall(self.http.data_to_send())
            data = self.socket.recv(65536)
            if not data:
                raise CheckFailed(f"expected {kind.__name__} on {stream}, saw the end and {self.seen}")
            self.seen += self.http.receive_data(data)
            self.socket.sendall(self.http.data_to_send())

    def request(self, method="CONNECT", path="/ws/status", **changes):
        """Sends a request on a new stream; returns the stream identifier and the status of the response."""
        headers = {":method": method, ":scheme": "https", ":path": path, ":authority": self.authority}
        if method == "CONNECT":
            headers |= {":protocol": "websocket", "sec-websocket-version": "13", "origin": ALLOWED}
        headers |= {name.replace("_", "-"): value for name, value in changes.items()}
        headers |= {":protocol": changes["protocol"]} if "protocol" in changes else {}
        stream = self.http.get_next_available_stream_id()
        names = [(name, value) for name, value in headers.items() if value and name != "protocol"]
        self.http.send_headers(stream, names, end_stream=method != "CONNECT")
        answer = self.wait_for(h2.events.ResponseReceived, stream)
        return stream, int(dict(answer.headers)[":status"])

    def session(self):
        stream, status = self.request()
        expect("the answer to an extended CONNECT", 200, status)
        return Session(self, stream)


class Session:
    """A WebSocket on a stream."""

    def __init__(self, connection, stream):
        self.connection, self.stream = connection, stream
        self.websocket = Connection(ConnectionType.CLIENT)
        self.seen = []

    def send(self, event):
        self.connection.http.send_data(self.stream, self.websocket.send(event))
        self.connection.socket.sendall(self.connection.http.data_to_send())

    def wait_for(self, kind):
        while True:
            for event in self.seen:
                if isinstance(event, kind):
                    self.seen.remove(event)
                    return event
            data = self.connection.wait_for(h2.events.DataReceived, self.stream)
            self.connection.http.acknowledge_received_data(
                data.flow_controlled_length, self.stream
            )
            self.websocket.receive_data(data.data)
            for event in self.websocket.events():
                self.seen.append(event)
                if isinstance(event, Ping) or self.websocket.state is ConnectionState.REMOTE_CLOSING:
                    self.send(event.response())


def main():
    with certificate() as (cert, key), contextlib.ExitStack() as stack:
        server = stack.enter_context(
            running_server(
                "--listen", "127.0.0.1:0,tls:127.0.0.1:0",
                "--tls-cert-file", cert,
                "--tls-key-file", key,
                "--allowed-origins", ALLOWED,
                "--ping-interval-secs", "0.3",
                "--http2-max-streams", "3",
            )
        )
        plain, encrypted = server.addresses()
        for address, cafile, protocol in [(plain, None, "http/2"), (encrypted, cert, "http/2+tls")]:
            check_streams(server, Http2(address, cafile), protocol)
        check_drain(server, Http2(encrypted, cert))
    versions = " and ".join(f"{it} {importlib.metadata.version(it)}" for it in ("h2", "wsproto"))
    return f"{versions}: sessions and refusals, with and without TLS, 1001 and GOAWAY"


def check_streams(server, connection, protocol):
    """Concurrent sessions and refused requests; each session ends in a different way."""
    first, second = connection.session(), connection.session()
    server.wait_for(event="opened", protocol=protocol, origin=ALLOWED)
    first.send(Ping(payload=b"a payload"))
    expect("the pong's payload", b"a payload", bytes(first.wait_for(Pong).payload))
    second.send(TextMessage(data="dropped"))
    for request, status, refusal in [
        ({"origin": "https://other.example"}, 403, "origin_refused"),
        ({"sec_websocket_version": "12"}, 426, "websocket_version"),
        ({"protocol": "connect-udp"}, 501, "unknown_protocol"),
        ({"path": "/elsewhere"}, 404, "not_found"),
        ({"method": "GET"}, 426, "not_an_upgrade"),
        ({"method": "POST"}, 405, "method_not_allowed"),
    ]:
        expect(f"the status for {request}", status, connection.request(**request)[1])
        server.wait_for(event="refused", refusal=refusal, protocol=protocol)
    first.wait_for(Ping)
    first.send(CloseConnection(code=1000))
    expect("the code of the answer", 1000, first.wait_for(CloseConnection).code)
    connection.wait_for(h2.events.StreamEnded, first.stream)
    second.send(TextMessage(data="x" * 5000))
    expect("the code after a message that is too big", 1009, second.wait_for(CloseConnection).code)
    server.wait_for(event="closed", cause="too_big")
    third = connection.session()
    connection.http.reset_stream(third.stream)
    connection.socket.sendall(connection.http.data_to_send())
    server.wait_for(event="closed", cause="disconnected", code=1006)


def check_drain(server, connection):
    sessions = [connection.session() for _ in range(3)]
    expect("streams that the server allows", 3, connection.http.remote_settings.max_concurrent_streams)
    for session in sessions:
        session.wait_for(Ping)
        session.send(Ping())  # Its answer proves that the server has read the pong before it.
        session.wait_for(Pong)
    server.terminate()
    # h2 rejects all frames after a GOAWAY, even END_STREAM of open streams, so parse the frames here.
    by_stream = {session.stream: session for session in sessions}
    goaways = []
    for frame in frames(connection.socket):
        if isinstance(frame, GoAwayFrame):
            goaways.append((frame.error_code, frame.last_stream_id))
        elif isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            answer(connection, PingFrame(0, frame.opaque_data, flags=["ACK"]))
        elif isinstance(frame, DataFrame) and frame.data:
            session = by_stream[frame.stream_id]
            session.websocket.receive_data(frame.data)
            for event in session.websocket.events():
                if isinstance(event, CloseConnection):
                    close = (event.code, event.reason)
                    expect("the code on SIGTERM", (1001, "drained"), close)
                    data = session.websocket.send(event.response())
                    answer(connection, DataFrame(frame.stream_id, data, flags=["END_STREAM"]))
                    del by_stream[frame.stream_id]
    expect("sessions that were not closed", {}, by_stream)
    # A graceful shutdown: the first GOAWAY has the maximum identifier, the second the last processed stream
    # (RFC 9113, section 6.8).
    expect("the GOAWAY frames", [(0, 2**31 - 1), (0, sessions[-1].stream)], goaways)
    server.expect_clean_exit()


def frames(connection):
    """Parses the frames on a socket until its end."""
    data = b""
    while more := connection.recv(65536):
        data += more
        while len(data) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(data[:9]))
            if len(data) < 9 + length:
                break
            frame.parse_body(memoryview(data[9 : 9 + length]))
            data = data[9 + length :]
            yield frame


def answer(connection, frame):
    connection.socket.sendall(frame.serialize())


if __name__ == "__main__":
    run(main)
