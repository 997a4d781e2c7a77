// gorilla/websocket in the manner of its chat example: peer-gorilla PORT PING_INTERVAL_SECONDS.
//
// Go and the library come from Debian, whose packages are laid out as before modules:
//
//	apt-get install golang-go golang-github-gorilla-websocket-dev
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o peer-gorilla main.go
package main

import (
	"context"
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
)

// Compression is off by default, and Go sets TCP_NODELAY.
var upgrader = websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024}

type peer struct {
	pingInterval time.Duration
	stopping     chan struct{}
	sessions     sync.WaitGroup
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: peer-gorilla PORT PING_INTERVAL_SECONDS")
	}
	seconds, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	p := &peer{pingInterval: time.Duration(seconds) * time.Second, stopping: make(chan struct{})}
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
	// It does not wait for connections that were upgraded, so these are counted.
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
	gone := make(chan struct{})
	go p.write(conn, gone)
	go p.read(conn, gone)
}

// read drops what the client sends. The library answers pings meanwhile.
func (p *peer) read(conn *websocket.Conn, gone chan struct{}) {
	defer p.sessions.Done()
	defer conn.Close()
	defer close(gone)
	conn.SetReadLimit(maxMessageSize)
	for {
		if _, _, err := conn.NextReader(); err != nil {
			return
		}
	}
}

// write sends pings, and a Close frame at the end.
func (p *peer) write(conn *websocket.Conn, gone chan struct{}) {
	var pings <-chan time.Time
	if p.pingInterval > 0 {
		ticker := time.NewTicker(p.pingInterval)
		defer ticker.Stop()
		pings = ticker.C
	}
	for {
		select {
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
		case <-gone:
			return
		}
	}
}
