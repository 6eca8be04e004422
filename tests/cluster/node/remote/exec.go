// Package remote serves kubectl exec and port-forward, by the kubelet's protocols: each request is upgraded to a SPDY
// connection that carries several streams.
package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"gatehouse/tests/cluster/node/sandbox"
)

// Run runs a command and returns its exit code. It is to end with ctx.
type Run func(ctx context.Context, command []string, s sandbox.Streams) (int, error)

// streamsTimeout is how long a client may take to open the streams that it has announced.
const streamsTimeout = 30 * time.Second

// Exec runs the command of a request with the client's streams. Errors of the request are answered.
func Exec(w http.ResponseWriter, r *http.Request, run Run) {
	query := r.URL.Query()
	wanted := []string{corev1.StreamTypeError}
	terminal := flag(query.Get(corev1.ExecTTYParam))
	for _, s := range []struct {
		kind string
		want bool
	}{
		{corev1.StreamTypeStdin, flag(query.Get(corev1.ExecStdinParam))},
		{corev1.StreamTypeStdout, flag(query.Get(corev1.ExecStdoutParam))},
		{corev1.StreamTypeStderr, flag(query.Get(corev1.ExecStderrParam)) && !terminal},
		{corev1.StreamTypeResize, terminal},
	} {
		if s.want {
			wanted = append(wanted, s.kind)
		}
	}
	command := query[corev1.ExecCommandParam]
	if len(command) == 0 {
		http.Error(w, "the request has no command", http.StatusBadRequest)
		return
	}
	if _, err := httpstream.Handshake(r, w, []string{remotecommand.StreamProtocolV4Name}); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	incoming := make(chan opened, len(wanted))
	connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r,
		func(s httpstream.Stream, replied <-chan struct{}) error {
			select {
			case incoming <- opened{s, replied}:
				return nil
			default:
				return errors.New("the request announced fewer streams")
			}
		})
	if connection == nil {
		return // The upgrader has answered.
	}
	defer func() { _ = connection.Close() }()
	streams, err := collect(incoming, wanted)
	if err != nil {
		return // Without its streams the client cannot be told anything.
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-connection.CloseChan():
			cancel()
		case <-ctx.Done():
		}
	}()
	code, err := attach(ctx, streams, terminal, func(s sandbox.Streams) (int, error) { return run(ctx, command, s) })
	_ = json.NewEncoder(streams[corev1.StreamTypeError]).Encode(status(code, err)) // The client may have gone.
}

// flag reads a boolean query parameter as the API server writes it.
func flag(text string) bool {
	on, err := strconv.ParseBool(text)
	return err == nil && on
}

// opened is a stream that the client has opened. Replied is closed when it has been told so: a stream that ends before
// that is a reset to it.
type opened struct {
	httpstream.Stream
	replied <-chan struct{}
}

// collect returns the wanted streams by their type, once the client knows of each.
func collect(incoming <-chan opened, wanted []string) (map[string]httpstream.Stream, error) {
	streams := map[string]httpstream.Stream{}
	timeout := time.After(streamsTimeout)
	for range wanted {
		select {
		case s := <-incoming:
			select {
			case <-s.replied:
				streams[s.Headers().Get(corev1.StreamType)] = s.Stream
			case <-timeout:
				return nil, fmt.Errorf("a stream was not answered within %s", streamsTimeout)
			}
		case <-timeout:
			return nil, fmt.Errorf("%d of %d streams came within %s", len(streams), len(wanted), streamsTimeout)
		}
	}
	for _, kind := range wanted {
		if streams[kind] == nil {
			return nil, fmt.Errorf("stream %s is missing", kind)
		}
	}
	return streams, nil
}

// status is how the protocol tells the result of a command.
func status(code int, err error) *metav1.Status {
	switch {
	case err != nil:
		return &metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Message: err.Error()}
	case code != 0:
		return &metav1.Status{
			Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason,
			Message: fmt.Sprintf("command terminated with non-zero exit code: %d", code),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{
				Type:    remotecommand.ExitCodeCauseType,
				Message: strconv.Itoa(code),
			}}},
		}
	}
	return &metav1.Status{Status: metav1.StatusSuccess}
}

// input copies what the client types. It ends with the stream, at the latest when the connection is closed.
func input(to io.WriteCloser, from io.Reader) {
	_, _ = io.Copy(to, from) // Either side may end at any time.
	_ = to.Close()
}
