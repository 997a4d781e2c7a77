// uWebSockets without a scripting language: `peer-uwebsockets PORT PING_INTERVAL_SECONDS [PUBLISHER]`.
// `cargo xtask bench` builds it from the sources in the crate libuwebsockets-sys.

#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "App.h"

namespace {

struct NoData {};
using Socket = uWS::WebSocket<false, true, NoData>;

constexpr int GOING_AWAY = 1001;
constexpr const char *TOPIC = "status";

std::unordered_set<Socket *> sockets;

void ping_all(us_timer_t *) {
    for (Socket *socket : sockets) socket->send({}, uWS::OpCode::PING);
}

void close_all() {
    // `end` removes the socket from the set.
    const auto open = sockets;
    for (Socket *socket : open) socket->end(GOING_AWAY);
}

// Answers with 204 when the body of the request is queued for all sockets.
void publish(uWS::App &app, uWS::HttpResponse<false> *response) {
    response->onAborted([] {});
    response->onData([&app, response, state = std::string()](std::string_view piece, bool last) mutable {
        state.append(piece);
        if (!last) return;
        app.publish(TOPIC, state, uWS::OpCode::TEXT);
        response->writeStatus("204 No Content")->end({}, true);
    });
}

}  // namespace

int main(int argc, char **argv) {
    if (argc < 3) return EXIT_FAILURE;
    const int port = std::atoi(argv[1]);
    const int ping_interval = std::atoi(argv[2]);
    const int publisher = argc > 3 ? std::atoi(argv[3]) : 0;

    // One thread waits for SIGTERM, because the library has no signal handlers.
    sigset_t termination;
    sigemptyset(&termination);
    sigaddset(&termination, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &termination, nullptr);

    std::vector<us_listen_socket_t *> listeners;
    const auto keep = [&listeners](us_listen_socket_t *listener) {
        if (!listener) std::exit(EXIT_FAILURE);
        listeners.push_back(listener);
    };
    uWS::App app;
    // The library answers pings. Its own pings depend on the idle timeout and have no interval.
    app.ws<NoData>("/ws/status", {
        .compression = uWS::DISABLED,
        .maxPayloadLength = 64 * 1024,
        .idleTimeout = 0,
        .sendPingsAutomatically = false,
        .open = [publisher](Socket *socket) {
            sockets.insert(socket);
            if (publisher) socket->subscribe(TOPIC);
        },
        .message = [](Socket *, std::string_view, uWS::OpCode) {},
        .close = [](Socket *socket, int, std::string_view) { sockets.erase(socket); },
    });
    app.any("/*", [](auto *response, auto *) { response->writeStatus("404 Not Found")->end(); });
    app.listen("127.0.0.1", port, keep);
    if (publisher) {
        app.post("/publish", [&app](auto *response, auto *) { publish(app, response); });
        app.listen("127.0.0.1", publisher, keep);
    }

    uWS::Loop *loop = uWS::Loop::get();
    if (ping_interval > 0) {
        // A timer that does not keep the loop running.
        us_timer_t *timer = us_create_timer(reinterpret_cast<us_loop_t *>(loop), 1, 0);
        us_timer_set(timer, ping_all, ping_interval * 1000, ping_interval * 1000);
    }
    std::thread([loop, termination, &listeners] {
        int signal = 0;
        sigwait(&termination, &signal);
        loop->defer([&listeners] {
            for (us_listen_socket_t *listener : listeners) us_listen_socket_close(0, listener);
            close_all();
        });
    }).detach();

    // The loop ends with the last connection.
    app.run();
}
