package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/trace"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	// maxRequest is the largest review in bytes: an old and a new object of 3 MiB each, and the other fields.
	maxRequest = 7 << 20
	// defaultTimeLimit is less than the timeoutSeconds of 5 in the webhook configuration, so that the answer can say
	// what happened.
	defaultTimeLimit = 4 * time.Second
	// margin is the part of the API server's time limit that is reserved for sending the answer.
	margin = 200 * time.Millisecond
)

// answerer answers one request. An error is not a verdict: the webhook's failurePolicy then decides.
type answerer func(context.Context, *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error)

// endpoint handles the HTTP requests of the API server for an answerer.
type endpoint struct {
	name   string
	answer answerer
	// clients are the clients that get answers; nil means everybody.
	clients *Clients
	limit   time.Duration
	crowd   *crowd
	counts  *counts
	tracer  trace.Tracer
	knows   func(schema.GroupVersionKind) bool
	// leaving is closed when connections must not be used again.
	leaving <-chan struct{}
	log     logr.Logger
}

// ServeHTTP answers a review with status 200. With any other status the API server follows the webhook's failurePolicy,
// and shows the text to the user.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	select {
	case <-e.leaving:
		w.Header().Set("Connection", "close")
	default:
	}
	if err := e.clients.admit(r); err != nil {
		e.counts.fail(e.name, "other", strangerError{err}, start)
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	traced, span := e.span(r)
	defer span.End()
	limit := e.timeLimit(r)
	// The server's own context ends as soon as the server has to stop, but requests that have begun are completed.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(traced), start.Add(limit))
	defer cancel()
	defer onGone(r, cancel)()
	connection := http.NewResponseController(w)
	visit := e.crowd.enter(ctx, peerOf(r.RemoteAddr), func() { _ = connection.SetReadDeadline(time.Now()) })
	defer visit.leave()
	var request *admissionv1.AdmissionRequest
	var response *admissionv1.AdmissionResponse
	body, err := e.read(connection, w, r, visit)
	if err == nil {
		e.counts.size.WithLabelValues(e.name).Observe(float64(len(body)))
		request, response, err = e.within(visit, limit, body)
	}
	kind := "other"
	if request != nil && e.knows(schema.GroupVersionKind(request.Kind)) {
		kind = request.Kind.Kind
	}
	describe(span, request, response, err)
	if err != nil {
		e.counts.fail(e.name, kind, err, start)
		e.refuse(w, request, err)
		return
	}
	e.counts.observe(e.name, kind, outcomeOf(response), start)
	e.counts.warnings.WithLabelValues(e.name).Add(float64(len(response.Warnings)))
	response.UID = request.UID
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(review(response)); err != nil {
		e.log.Error(err, "sending an admission verdict", "kind", kind, "namespace", request.Namespace, "name", request.Name)
	}
}

// unreadError is the error of a request that is not a valid review, or that is not accepted.
type unreadError struct{ error }

// strangerError is the error of a client that gets no answers.
type strangerError struct{ error }

// refuse answers a request that has no verdict; request is nil if it is unknown.
func (e *endpoint) refuse(w http.ResponseWriter, request *admissionv1.AdmissionRequest, err error) {
	if unread := (unreadError{}); errors.As(err, &unread) {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	kind, namespace, name := "object", "", ""
	if request != nil {
		kind, namespace, name = request.Kind.Kind, request.Namespace, request.Name
	}
	e.log.Error(err, "no admission verdict", "kind", kind, "namespace", namespace, "name", name)
	status := http.StatusInternalServerError
	if errors.Is(err, errCrowded) {
		status = turnAway(w)
	}
	http.Error(w, unjudged(request, err).Error(), status)
}

// turnAway returns the status for a request that makes room for others. Its connection cannot be used again, because
// its body may not have been read completely.
func turnAway(w http.ResponseWriter) int {
	w.Header().Set("Connection", "close")
	return http.StatusTooManyRequests
}

// read reads a request in the time limit of its answer, and rejects a request that would take too much memory when it
// is decoded.
func (e *endpoint) read(connection *http.ResponseController, w http.ResponseWriter, r *http.Request, v *visit) ([]byte,
	error,
) {
	deadline, _ := v.ctx.Deadline()
	if err := connection.SetReadDeadline(deadline); err != nil {
		return nil, fmt.Errorf("limiting the time to read the AdmissionReview: %w", err)
	}
	body, err := v.read(http.MaxBytesReader(w, r.Body, maxRequest))
	if errors.Is(err, errCrowded) {
		return nil, err
	}
	if err != nil {
		return nil, unreadError{fmt.Errorf("reading the AdmissionReview, of which at most %d bytes are taken: %w", maxRequest,
			err)}
	}
	if err := connection.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("lifting the limit of the time to read: %w", err)
	}
	keepConnection(r)
	if err := fits("the AdmissionReview", body, maxReviewTokens); err != nil {
		return nil, unreadError{err}
	}
	return body, nil
}

// readReview decodes a request. Its objects must not take too much memory when they are decoded.
func readReview(body []byte) (*admissionv1.AdmissionRequest, error) {
	in := &admissionv1.AdmissionReview{}
	if err := json.Unmarshal(body, in); err != nil {
		return nil, fmt.Errorf("the request is not an AdmissionReview: %w", err)
	}
	if in.APIVersion != admissionv1.SchemeGroupVersion.String() || in.Request == nil {
		return nil, fmt.Errorf("apiVersion %q with a request expected, got %q: set admissionReviewVersions: [v1] in the webhook configuration",
			admissionv1.SchemeGroupVersion, in.APIVersion)
	}
	if err := fits("request.object", in.Request.Object.Raw, maxTokens); err != nil {
		return nil, err
	}
	return in.Request, fits("request.oldObject", in.Request.OldObject.Raw, maxTokens)
}

func review(response *admissionv1.AdmissionResponse) *admissionv1.AdmissionReview {
	return &admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Response: response,
	}
}

// within answers in time; the request is nil if its turn did not come. Work that the answerer does after that is lost,
// so the answerer stops as soon as it can.
func (e *endpoint) within(v *visit, limit time.Duration, body []byte) (*admissionv1.AdmissionRequest,
	*admissionv1.AdmissionResponse, error,
) {
	type result struct {
		response *admissionv1.AdmissionResponse
		err      error
	}
	var known atomic.Pointer[admissionv1.AdmissionRequest]
	done := make(chan result, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- result{err: fmt.Errorf("a mistake in Gatehouse stopped it: %v", p)}
			}
		}()
		response, err := e.inTurn(v, body, &known)
		done <- result{response, err}
	}()
	select {
	case got := <-done:
		if got.err == nil || v.ctx.Err() == nil {
			return known.Load(), got.response, got.err
		}
	case <-v.ctx.Done():
	}
	err := context.Cause(v.ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = lateError{limit}
	}
	return known.Load(), nil, err
}

// inTurn decodes and answers when few enough other requests are being answered, and stores the decoded request in
// known.
func (e *endpoint) inTurn(v *visit, body []byte,
	known *atomic.Pointer[admissionv1.AdmissionRequest],
) (*admissionv1.AdmissionResponse, error) {
	h := &held{visit: v, tokens: tokens(body)}
	_, waiting := stage(v.ctx, "wait for a turn")
	var err error
	h.done, err = e.crowd.turn(v.ctx, v.from, h.tokens)
	if waiting.End(); err != nil {
		return nil, err
	}
	defer func() { h.done() }()
	request, err := readReview(body)
	if err != nil {
		return nil, unreadError{err}
	}
	known.Store(request)
	return e.answer(withTurn(v.ctx, h), request)
}

// timeLimit is the shorter of our limit and the API server's, which is in the query as "timeout".
func (e *endpoint) timeLimit(r *http.Request) time.Duration {
	limit := e.limit
	if limit <= 0 {
		limit = defaultTimeLimit
	}
	theirs, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || theirs <= margin {
		return limit
	}
	return min(limit, theirs-margin)
}

// unjudged is the message for the user if there is no verdict; request is nil if it is unknown.
func unjudged(request *admissionv1.AdmissionRequest, err error) error {
	kind, where := "object", "on its namespace"
	switch {
	case request == nil:
	case request.Namespace != "":
		kind, where = request.Kind.Kind, "on namespace "+request.Namespace
	default:
		kind, where = request.Kind.Kind, "on it"
	}
	return fmt.Errorf("this %s cannot be judged by Gatehouse now: %w: try again, and if that does not help, set label %s=%s %s to write without its verdict",
		kind, err, LevelLabel, LevelOff, where)
}
