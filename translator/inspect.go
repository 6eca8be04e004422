package translator

import (
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"gatehouse/translator/flow"
)

// keptBatches is how many of the last batches are remembered.
const keptBatches = 64

// Batch is what one batch of events cost.
type Batch struct {
	At     time.Time
	Events int
	// Computed counts the rows that were computed, by table. Tables without such rows are left out.
	Computed map[string]int
	// Took is the time in the tables, without delivery.
	Took time.Duration
}

// batch remembers the cost of the batch that was just committed. The mutex is held.
func (w *World) batch(start time.Time, events int) {
	b := Batch{At: start, Events: events, Computed: map[string]int{}, Took: time.Since(start)}
	for table, calls := range w.engine.Computed {
		b.Computed[table] = calls
	}
	if len(w.batches) == keptBatches {
		w.batches = append(w.batches[:0], w.batches[1:]...)
	}
	w.batches = append(w.batches, b)
}

// Batches returns the last batches, the newest first.
func (w *World) Batches() []Batch {
	w.turn.lock()
	defer w.turn.unlock()
	newest := make([]Batch, len(w.batches))
	for i, b := range w.batches {
		newest[len(newest)-1-i] = b
	}
	return newest
}

// Stats returns what each table holds and has cost, in the order in which they are computed.
func (w *World) Stats() []flow.TableStats {
	w.turn.lock()
	defer w.turn.unlock()
	return w.engine.Stats()
}

// Keys returns the sorted keys of a table, false if there is no table of that name.
func (w *World) Keys(table string) ([]string, bool) {
	w.turn.lock()
	defer w.turn.unlock()
	return w.engine.Keys(table)
}

// Explain returns what a row read, its own parent first, and its content if it has a readable form, as Envoy's
// resources and statuses have. Secrets are never shown. It is false if the table has never had the key.
func (w *World) Explain(table, key string) (read []string, text string, ok bool) {
	w.turn.lock()
	defer w.turn.unlock()
	if read, ok = w.engine.Explain(table, key); !ok {
		return nil, "", false
	}
	value, _ := w.engine.Value(table, key)
	switch v := value.(type) {
	case *Resource:
		text = v.text()
	case *clusterRow:
		text = v.Resource.text()
	case *Status:
		text = v.text()
	}
	return read, text, true
}

// text is the resource in protobuf's JSON.
func (r *Resource) text() string {
	if r.Type == typeSecret {
		return "a Secret is not shown; its version is " + r.Version
	}
	message := &anypb.Any{TypeUrl: r.Type, Value: r.Body()}
	text, err := protojson.MarshalOptions{Multiline: true}.Marshal(message)
	if err != nil {
		return fmt.Sprintf("cannot be shown: %v", err) // Every type that is made here is linked in.
	}
	return string(text)
}

// text is the desired status in JSON, then the problems.
func (s *Status) text() string {
	desired, err := json.MarshalIndent(s.Desired, "", "  ")
	if err != nil {
		return fmt.Sprintf("cannot be shown: %v", err) // newStatus has marshalled it once.
	}
	text := string(desired)
	for _, p := range s.Problems {
		text += "\n" + p.String()
	}
	return text
}
