package shutdown

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"golang.org/x/net/netutil"
)

// Manager answers the preStop hook of Envoy.
type Manager struct {
	// Host and Port are its address; an empty Host means every address of the pod.
	Host string
	Port int
	// ReadyTimeout is how long the hook waits at most.
	ReadyTimeout time.Duration
	// ReadyFile is the file that Drain writes.
	ReadyFile string
}

// filePoll is the time between two checks of the ready file; stopTime is the limit for the last answers when the
// manager stops. At most maxConnections are served at a time; others wait. No hook ends early because of this: all are
// answered when Envoy is drained.
const (
	filePoll       = 100 * time.Millisecond
	stopTime       = 5 * time.Second
	maxConnections = 64
)

// Run serves until ctx ends, and then until waiting hooks have their answer. It first removes a ready file of an
// earlier run: a volume outlives the container.
func (m Manager) Run(ctx context.Context, log *slog.Logger) error {
	if err := os.Remove(m.ReadyFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the ready file of an earlier run: %w", err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(m.Host, strconv.Itoa(m.Port)))
	if err != nil {
		return fmt.Errorf("listening for hooks: %w", err)
	}
	server := &http.Server{Handler: m.handler(log), ReadHeaderTimeout: stopTime}
	server.SetKeepAlivesEnabled(false) // An answered connection must make room for another.
	served := make(chan error, 1)
	go func() { served <- server.Serve(netutil.LimitListener(listener, maxConnections)) }()
	log.Info("waiting for the end", "address", listener.Addr().String())
	select {
	case err := <-served:
		return fmt.Errorf("serving hooks: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		return fmt.Errorf("answering the last hooks: %w", err)
	}
	return nil
}

func (m Manager) handler(log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+HealthPath, func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET "+ReadyPath, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), m.ReadyTimeout)
		defer cancel()
		if m.drained(ctx) {
			log.Info("Envoy may be stopped")
			return
		}
		log.Warn("Envoy is stopped although it is not drained", "timeout", m.ReadyTimeout)
		w.WriteHeader(http.StatusGatewayTimeout)
	})
	return mux
}

// drained waits for the ready file.
func (m Manager) drained(ctx context.Context) bool {
	ticker := time.NewTicker(filePoll)
	defer ticker.Stop()
	for {
		if _, err := os.Stat(m.ReadyFile); err == nil {
			return true
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
	}
}
