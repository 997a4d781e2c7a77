// gorilla/websocket, structured like its chat example:
// peer-gorilla PORT PING_INTERVAL_SECONDS [PUBLISHER [deflate]].
//
// Go and the library come from Debian, whose packages use the GOPATH layout:
//
//	apt-get install golang-go golang-github-gorilla-websocket-dev
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o peer-gorilla main.go
package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// Time allowed to write a message.
	writeWait = 10 * time.Second
	// Time allowed to answer a Close frame.
	closeWait      = 5 * time.Second
	maxMessageSize = 64 << 10
	// Messages that are queued for a client; a client that needs more is disconnected.
	backlog = 256
)

// Compression is off by default, and Go sets TCP_NODELAY.
var upgrader = websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024}

type peer struct {
	pingInterval time.Duration
	stopping     chan struct{}
	sessions     sync.WaitGroup
	// nil without a publisher.
	hub *hub
}

// hub sends what is published to all clients.
type hub struct {
	register, unregister chan *client
	publish              chan *websocket.PreparedMessage
	// Signals that a message was passed to the clients.
	published chan struct{}
}

type client struct {
	conn   *websocket.Conn
	send   chan *websocket.PreparedMessage
	closed chan struct{}
}

func newHub() *hub {
	return &hub{
		register:   make(chan *client),
		unregister: make(chan *client),
		publish:    make(chan *websocket.PreparedMessage),
		published:  make(chan struct{}),
	}
}

func (h *hub) run() {
	clients := make(map[*client]bool)
	for {
		select {
		case c := <-h.register:
			clients[c] = true
		case c := <-h.unregister:
			if clients[c] {
				delete(clients, c)
				close(c.send)
			}
		case message := <-h.publish:
			for c := range clients {
				select {
				case c.send <- message:
				default:
					close(c.send)
					delete(clients, c)
				}
			}
			h.published <- struct{}{}
		}
	}
}

// ServeHTTP publishes the body of a request to all clients.
func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	// The frame is encoded once, and shared by all clients.
	message, err := websocket.NewPreparedMessage(websocket.TextMessage, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.publish <- message
	<-h.published
	w.WriteHeader(http.StatusNoContent)
}

func main() {
	if len(os.Args) < 3 || len(os.Args) > 5 {
		log.Fatal("usage: peer-gorilla PORT PING_INTERVAL_SECONDS [PUBLISHER [deflate]]")
	}
	upgrader.EnableCompression = len(os.Args) == 5
	seconds, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	p := &peer{pingInterval: time.Duration(seconds) * time.Second, stopping: make(chan struct{})}
	if len(os.Args) > 3 {
		p.hub = newHub()
		go p.hub.run()
		publisher := http.NewServeMux()
		publisher.Handle("/publish", p.hub)
		go func() {
			log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[3], publisher))
		}()
	}
	http.HandleFunc("/ws/status", p.serve)
	server := &http.Server{Addr: "127.0.0.1:" + os.Args[1]}

	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	go func() {
		if err := server.ListenAndServe(); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	<-terminated

	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	// Shutdown does not wait for upgraded connections, so they are counted.
	_ = server.Shutdown(ctx)
	close(p.stopping)
	ended := make(chan struct{})
	go func() {
		p.sessions.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

func (p *peer) serve(w http.ResponseWriter, r *http.Request) {
	p.sessions.Add(1)
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		p.sessions.Done()
		return
	}
	c := &client{conn: conn, closed: make(chan struct{})}
	if p.hub != nil {
		c.send = make(chan *websocket.PreparedMessage, backlog)
		p.hub.register <- c
	}
	go p.write(c)
	go p.read(c)
}

// read drops the client's messages. The library answers pings meanwhile.
func (p *peer) read(c *client) {
	defer p.sessions.Done()
	defer c.conn.Close()
	defer close(c.closed)
	if p.hub != nil {
		defer func() { p.hub.unregister <- c }()
	}
	c.conn.SetReadLimit(maxMessageSize)
	for {
		if _, _, err := c.conn.NextReader(); err != nil {
			return
		}
	}
}

// write sends messages and pings, and a Close frame at the end.
func (p *peer) write(c *client) {
	conn := c.conn
	var pings <-chan time.Time
	if p.pingInterval > 0 {
		ticker := time.NewTicker(p.pingInterval)
		defer ticker.Stop()
		pings = ticker.C
	}
	for {
		select {
		case message, ok := <-c.send:
			conn.SetWriteDeadline(time.Now().Add(writeWait))
			if !ok {
				// The client was too slow.
				_ = conn.WriteMessage(websocket.CloseMessage, nil)
				conn.Close()
				return
			}
			if err := conn.WritePreparedMessage(message); err != nil {
				conn.Close()
				return
			}
		case <-pings:
			conn.SetWriteDeadline(time.Now().Add(writeWait))
			if err := conn.WriteMessage(websocket.PingMessage, nil); err != nil {
				return
			}
		case <-p.stopping:
			away := websocket.FormatCloseMessage(websocket.CloseGoingAway, "")
			conn.SetWriteDeadline(time.Now().Add(writeWait))
			_ = conn.WriteMessage(websocket.CloseMessage, away)
			return
		case <-c.closed:
			return
		}
	}
}
