// Boost.Beast on one thread: `peer-beast PORT PING_INTERVAL_SECONDS [PUBLISHER]`.
// `g++ -O3 -flto=auto -march=native -std=c++20 bench/peers/beast/main.cpp -o target/release/peer-beast`

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>

#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;
using asio::ip::tcp;
using boost::system::error_code;
// The executor is known at compile time, so that no call goes through a virtual function.
using Executor = asio::io_context::executor_type;
using Socket = asio::basic_stream_socket<tcp, Executor>;
using Acceptor = asio::basic_socket_acceptor<tcp, Executor>;
using State = std::shared_ptr<const std::string>;

constexpr int BACKLOG = 4096;
constexpr auto GRACE = std::chrono::seconds(5);

class Session;
std::unordered_set<Session *> sessions;

// A session. Its pending operations own it.
class Session : public std::enable_shared_from_this<Session> {
public:
    explicit Session(Socket &&socket) : stream_(std::move(socket)) {}

    void accept(const http::request<http::string_body> &request) {
        // The library answers pings and Close frames. Only the two handshakes have a time limit.
        stream_.set_option(websocket::stream_base::timeout{GRACE, websocket::stream_base::none(), false});
        stream_.text(true);
        stream_.async_accept(request, [self = shared_from_this()](error_code error) {
            if (error) return;
            sessions.insert(self.get());
            self->read();
        });
    }

    void ping() {
        // Only one ping can be written at a time.
        if (std::exchange(pinging_, true)) return;
        stream_.async_ping({}, [self = shared_from_this()](error_code) { self->pinging_ = false; });
    }

    // Only one message can be written at a time. As in the library's example of a chat, the others wait.
    void send(State state) {
        states_.push_back(std::move(state));
        if (states_.size() == 1) write();
    }

    void close() {
        stream_.async_close(websocket::close_code::going_away, [self = shared_from_this()](error_code) {});
    }

private:
    void read() {
        stream_.async_read(buffer_, [self = shared_from_this()](error_code error, std::size_t) {
            self->buffer_.consume(self->buffer_.size());
            if (error) {
                sessions.erase(self.get());
            } else {
                self->read();
            }
        });
    }

    void write() {
        stream_.async_write(asio::buffer(*states_.front()), [self = shared_from_this()](error_code error, std::size_t) {
            self->states_.pop_front();
            if (!error && !self->states_.empty()) self->write();
        });
    }

    websocket::stream<Socket, false> stream_;
    beast::flat_buffer buffer_;
    std::deque<State> states_;
    bool pinging_ = false;
};

// Reads one request, which opens a session or publishes a state.
class Connection : public std::enable_shared_from_this<Connection> {
public:
    explicit Connection(Socket &&socket) : socket_(std::move(socket)) {}

    void read() {
        http::async_read(socket_, buffer_, request_, [self = shared_from_this()](error_code error, std::size_t) {
            if (!error) self->answer();
        });
    }

private:
    void answer() {
        const bool upgrades = websocket::is_upgrade(request_);
        if (upgrades && request_.target() == "/ws/status") {
            return std::make_shared<Session>(std::move(socket_))->accept(request_);
        }
        const bool publishes = request_.method() == http::verb::post && request_.target() == "/publish";
        if (publishes) {
            const auto state = std::make_shared<const std::string>(std::move(request_.body()));
            for (Session *session : sessions) session->send(state);
        }
        response_.result(publishes ? http::status::no_content : http::status::not_found);
        response_.keep_alive(false);
        response_.prepare_payload();
        http::async_write(socket_, response_, [self = shared_from_this()](error_code, std::size_t) {});
    }

    Socket socket_;
    beast::flat_buffer buffer_;
    http::request<http::string_body> request_;
    http::response<http::empty_body> response_;
};

Acceptor listen(asio::io_context &context, const char *port) {
    Acceptor acceptor(context, tcp::v4());
    acceptor.set_option(asio::socket_base::reuse_address(true));
    const auto number = static_cast<unsigned short>(std::atoi(port));
    acceptor.bind(tcp::endpoint(asio::ip::address_v4::loopback(), number));
    acceptor.listen(BACKLOG);
    return acceptor;
}

void accept(Acceptor &acceptor) {
    acceptor.async_accept([&acceptor](error_code error, Socket socket) {
        if (!acceptor.is_open()) return;
        if (!error) {
            socket.set_option(tcp::no_delay(true), error);
            std::make_shared<Connection>(std::move(socket))->read();
        }
        accept(acceptor);
    });
}

// One timer for all sessions.
void ping_all(asio::steady_timer &timer, std::chrono::seconds interval) {
    timer.expires_after(interval);
    timer.async_wait([&timer, interval](error_code error) {
        if (error) return;
        for (Session *session : sessions) session->ping();
        ping_all(timer, interval);
    });
}

}  // namespace

int main(int argc, char **argv) {
    if (argc < 3) return EXIT_FAILURE;
    // One thread: the library needs no locks.
    asio::io_context context(1);
    std::deque<Acceptor> acceptors;
    acceptors.push_back(listen(context, argv[1]));
    if (argc > 3) acceptors.push_back(listen(context, argv[3]));
    for (Acceptor &acceptor : acceptors) accept(acceptor);

    asio::steady_timer pings(context);
    const std::chrono::seconds interval(std::atoi(argv[2]));
    if (interval.count() > 0) ping_all(pings, interval);

    asio::signal_set termination(context, SIGTERM);
    termination.async_wait([&](error_code, int) {
        for (Acceptor &acceptor : acceptors) acceptor.close();
        pings.cancel();
        for (Session *session : sessions) session->close();
    });
    // Returns when the last session has ended.
    context.run();
}
