package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// histogram has what a Prometheus histogram counts: how many values are at most a bound, in seconds.
type histogram struct {
	buckets map[float64]float64
	sum     float64
}

// webhookTimes are the times of all calls of the validating webhook for routes so far.
func (b *bench) webhookTimes() (histogram, error) {
	h := histogram{buckets: map[float64]float64{}}
	all, err := samples(b.raw, b.apiServer+"/metrics")
	if err != nil {
		return h, fmt.Errorf("read the API server's metrics: %w", err)
	}
	for name, value := range all {
		if !strings.HasPrefix(name, webhookSeconds) || label(name, "name") != "validate.gatehouse.dev" {
			continue
		}
		switch {
		case strings.HasPrefix(name, webhookSeconds+"_sum"):
			h.sum += value
		case strings.HasPrefix(name, webhookSeconds+"_bucket"):
			bound, err := strconv.ParseFloat(label(name, "le"), 64)
			if err != nil {
				return h, fmt.Errorf("%s: %w", name, err)
			}
			h.buckets[bound] += value
		}
	}
	return h, nil
}

// since describes what has come since another one: the mean, and bounds of the median and the 99th percentile, because a
// histogram knows no more.
func (h histogram) since(before histogram) string {
	count := h.buckets[math.Inf(1)] - before.buckets[math.Inf(1)]
	if count == 0 {
		return "no call"
	}
	bound := func(part float64) string {
		for _, at := range slices.Sorted(maps.Keys(h.buckets)) {
			if h.buckets[at]-before.buckets[at] >= part*count {
				return "≤ " + time.Duration(at*float64(time.Second)).String()
			}
		}
		return "?"
	}
	mean := time.Duration((h.sum - before.sum) / count * float64(time.Second))
	return fmt.Sprintf("%s, %s / %s of %.0f", round(mean), bound(0.5), bound(0.99), count)
}
