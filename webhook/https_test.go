package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// TestBodiesThatNobodyReads: a connection ends if its body does not arrive, even if nobody reads the body.
func TestBodiesThatNobodyReads(t *testing.T) {
	certificate, _ := issue(t, time.Now().Add(time.Hour))
	port := freePort(t)
	https := NewServer("127.0.0.1", port, func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return certificate,
			nil
	}).(*server)
	https.requestTime = time.Second
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- https.Start(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for https.StartedChecker()(nil) != nil {
		time.Sleep(10 * time.Millisecond)
	}
	conn, err := tls.Dial("tcp", https.address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "POST /elsewhere HTTP/1.1\r\nHost: webhook\r\nContent-Length: 100\r\n\r\n")
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays although its body does not come")
	}
}
