package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	// maxRequest is the largest review in bytes: an old and a new object of 3 MiB each, and the rest.
	maxRequest = 7 << 20
	// defaultTimeLimit is below the timeoutSeconds of 5 in the webhook configuration, so that the answer says what happened.
	defaultTimeLimit = 4 * time.Second
	// margin is what is left of the API server's time limit for the answer's way back.
	margin = 200 * time.Millisecond
)

// answerer answers one request. An error is no verdict: it leaves the decision to the webhook's failurePolicy.
type answerer func(context.Context, *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error)

// endpoint speaks HTTP with the API server for an answerer.
type endpoint struct {
	name   string
	answer answerer
	// clients are those who are answered; nil is everybody.
	clients *Clients
	limit   time.Duration
	crowd   *crowd
	counts  *counts
	knows   func(schema.GroupVersionKind) bool
	// leaving is closed when no connection shall be used again.
	leaving <-chan struct{}
	log     logr.Logger
}

// ServeHTTP answers a review with status 200. Any other status makes the API server do what the webhook's failurePolicy says, and
// show the user the text.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	select {
	case <-e.leaving:
		w.Header().Set("Connection", "close")
	default:
	}
	if err := e.clients.admit(r); err != nil {
		e.counts.observe(e.name, "other", failed, start)
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	connection := http.NewResponseController(w)
	// The server's own context ends as soon as it is told to stop, but what has begun is completed.
	visit := e.crowd.enter(context.WithoutCancel(r.Context()), peerOf(r.RemoteAddr), func() { _ = connection.SetReadDeadline(time.Now()) })
	defer visit.leave()
	request, err := e.read(w, r, visit)
	if err != nil {
		e.counts.observe(e.name, "other", failed, start)
		e.refuse(w, err)
		return
	}
	kind := "other"
	if gvk := schema.GroupVersionKind(request.Kind); e.knows(gvk) {
		kind = gvk.Kind
	}
	response, err := e.within(visit, e.timeLimit(r), request)
	if err != nil {
		e.counts.observe(e.name, kind, failed, start)
		e.log.Error(err, "no admission verdict", "kind", kind, "namespace", request.Namespace, "name", request.Name)
		status := http.StatusInternalServerError
		if errors.Is(err, errCrowded) {
			status = turnAway(w)
		}
		http.Error(w, err.Error(), status)
		return
	}
	e.counts.observe(e.name, kind, outcomeOf(response), start)
	response.UID = request.UID
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(review(response)); err != nil {
		e.log.Error(err, "sending an admission verdict", "kind", kind, "namespace", request.Namespace, "name", request.Name)
	}
}

// refuse answers a request that was not read.
func (e *endpoint) refuse(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	if errors.Is(err, errCrowded) {
		e.log.Error(err, "no admission verdict, a request was not read")
		err, status = unjudged("object", "on its namespace", errCrowded), turnAway(w)
	}
	http.Error(w, err.Error(), status)
}

// turnAway is the status for a request that makes room for others. Its connection cannot be used again, as its body may not have been read.
func turnAway(w http.ResponseWriter) int {
	w.Header().Set("Connection", "close")
	return http.StatusTooManyRequests
}

// read reads a request in the time that there is for its answer.
func (e *endpoint) read(w http.ResponseWriter, r *http.Request, v *visit) (*admissionv1.AdmissionRequest, error) {
	connection := http.NewResponseController(w)
	if err := connection.SetReadDeadline(time.Now().Add(e.timeLimit(r))); err != nil {
		return nil, fmt.Errorf("limiting the time to read the AdmissionReview: %w", err)
	}
	body, err := v.read(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		return nil, fmt.Errorf("reading the AdmissionReview, of which at most %d bytes are taken: %w", maxRequest, err)
	}
	if err := connection.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("lifting the limit of the time to read: %w", err)
	}
	keepConnection(r)
	return readReview(body)
}

func readReview(body []byte) (*admissionv1.AdmissionRequest, error) {
	in := &admissionv1.AdmissionReview{}
	if err := json.Unmarshal(body, in); err != nil {
		return nil, fmt.Errorf("the request is not an AdmissionReview: %w", err)
	}
	if in.APIVersion != admissionv1.SchemeGroupVersion.String() || in.Request == nil {
		return nil, fmt.Errorf("apiVersion %q with a request expected, got %q; set admissionReviewVersions: [v1] in the webhook configuration",
			admissionv1.SchemeGroupVersion, in.APIVersion)
	}
	return in.Request, nil
}

func review(response *admissionv1.AdmissionResponse) *admissionv1.AdmissionReview {
	return &admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Response: response,
	}
}

// within answers in time. What the answerer still does after that is lost, so it ends as soon as it can.
func (e *endpoint) within(v *visit, limit time.Duration, request *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	ctx, cancel := context.WithTimeout(v.ctx, limit)
	defer cancel()
	type result struct {
		response *admissionv1.AdmissionResponse
		err      error
	}
	done := make(chan result, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- result{err: fmt.Errorf("a mistake in Gatehouse stopped it: %v", p)}
			}
		}()
		response, err := e.inTurn(ctx, v.peer, request)
		done <- result{response, err}
	}()
	select {
	case got := <-done:
		if got.err != nil {
			return nil, unanswered(request, got.err)
		}
		return got.response, nil
	case <-ctx.Done():
		err := context.Cause(ctx)
		if !errors.Is(err, errCrowded) {
			err = fmt.Errorf("no answer within %s", limit)
		}
		return nil, unanswered(request, err)
	}
}

// inTurn answers when few enough others are being answered.
func (e *endpoint) inTurn(ctx context.Context, peer string, request *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	done, err := e.crowd.turns.await(ctx, peer)
	if err != nil {
		return nil, err
	}
	defer done()
	return e.answer(ctx, request)
}

// timeLimit is the shorter one of our limit and the API server's, which it tells in the query as "timeout".
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

// unanswered are the words for the user when there is no verdict.
func unanswered(request *admissionv1.AdmissionRequest, err error) error {
	where := "on it"
	if request.Namespace != "" {
		where = "on namespace " + request.Namespace
	}
	return unjudged(request.Kind.Kind, where, err)
}

func unjudged(kind, where string, err error) error {
	return fmt.Errorf("this %s cannot be judged by Gatehouse now: %w; try again, and if that does not help, set label %s=%s %s to write without its verdict",
		kind, err, LevelLabel, LevelOff, where)
}
