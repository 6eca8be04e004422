package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// changesOfOne and changesOfMany are how many routes are changed by one client, and by many at a time.
const (
	changesOfOne  = 400
	many          = 50
	changesOfMany = 4000
)

// webhookSeconds is the API server's own metric of how long a webhook takes.
const webhookSeconds = "apiserver_admission_webhook_admission_duration_seconds"

// admitting measures changes of routes beside those that are stored: without a rule, and with those of all packs.
func (b *bench) admitting(ctx context.Context) error {
	if _, _, err := b.fill(ctx); err != nil {
		return fmt.Errorf("create the routes: %w", err)
	}
	if err := b.attached(ctx, b.inside+1); err != nil {
		return err
	}
	if b.webhookOff {
		return b.changing(ctx, "webhook off")
	}
	if err := b.changing(ctx, "no rule"); err != nil {
		return err
	}
	if err := b.installPacks(ctx); err != nil {
		return err
	}
	return b.changing(ctx, "all packs")
}

// changing measures one client, and many at a time.
func (b *bench) changing(ctx context.Context, with string) error {
	for _, of := range []struct{ clients, changes int }{{1, changesOfOne}, {many, changesOfMany}} {
		time.Sleep(3 * time.Second) // Statuses of earlier changes are still being written.
		progress("%s: %d changes by %d clients", with, of.changes, of.clients)
		before, err := b.webhookTimes()
		if err != nil {
			return err
		}
		var lock sync.Mutex
		var answers times
		start := time.Now()
		err = eachBy(of.clients, of.changes, func(i int) error {
			begin := time.Now()
			if err := b.change(ctx, i); err != nil {
				return err
			}
			lock.Lock()
			defer lock.Unlock()
			answers = append(answers, time.Since(begin))
			return nil
		})
		if err != nil {
			return fmt.Errorf("change a route: %w", err)
		}
		took := time.Since(start)
		after, err := b.webhookTimes()
		if err != nil {
			return err
		}
		what := fmt.Sprintf("%s, %d at a time: ", with, of.clients)
		say(what+"answer to the client, p50 / p99", "%s / %s", round(answers.at(50)), round(answers.at(99)))
		say(what+"changes per second", "%.0f", float64(of.changes)/took.Seconds())
		if !b.webhookOff {
			say(what+"webhook by the API server: mean, p50 / p99", "%s", after.since(before))
		}
	}
	return nil
}

// change gives a stored route another path, as kubectl apply does.
func (b *bench) change(ctx context.Context, i int) error {
	name := fmt.Sprintf("r%d", i%b.inside)
	patch := fmt.Sprintf(`{"spec": {"rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/v%d-%d"}}], `+
		`"backendRefs": [{"name": "s%d", "port": 80}]}]}}`, time.Now().UnixNano(), i, i%b.inside%b.services())
	return b.client.Patch(ctx, &gwapiv1.HTTPRoute{ObjectMeta: named(name)}, client.RawPatch("application/merge-patch+json", []byte(patch)))
}

// installPacks stores the rules of all packs, with severity audit: the routes of the benchmark violate some of them.
func (b *bench) installPacks(ctx context.Context) error {
	files, err := filepath.Glob(filepath.Join(b.root, "policies/rules/packs/*/*.yaml"))
	if err != nil {
		return err
	}
	rules := 0
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var rule struct {
			Kind     string         `json:"kind"`
			Metadata map[string]any `json:"metadata"`
			Spec     map[string]any `json:"spec"`
			Version  string         `json:"apiVersion"`
		}
		if err := yaml.Unmarshal(text, &rule); err != nil || rule.Kind != "AdmissionRule" {
			continue // Tests of rules.
		}
		rule.Spec["severity"] = "audit"
		if text, err = yaml.Marshal(rule); err != nil {
			return err
		}
		apply := exec.CommandContext(ctx, filepath.Join(b.root, "bin/kubectl"), "apply", "-f", "-")
		apply.Stdin = bytes.NewReader(text)
		if out, err := apply.CombinedOutput(); err != nil {
			return fmt.Errorf("store the rule of %s: %w: %s", name, err, out)
		}
		rules++
	}
	progress("%d rules are stored", rules)
	return b.judged(ctx, rules)
}

// auditTime is how long the background audit may take to judge what is stored by all packs.
const auditTime = 10 * time.Minute

// judged waits until what is stored has been judged by all rules, so that this is not measured with the changes.
func (b *bench) judged(ctx context.Context, rules int) error {
	for deadline := time.Now().Add(auditTime); ; time.Sleep(time.Second) {
		get := exec.CommandContext(ctx, filepath.Join(b.root, "bin/kubectl"), "get", "admissionrules", "-o",
			"jsonpath={.items[*].status.audit.observedGeneration}")
		out, err := get.Output()
		if err != nil {
			return fmt.Errorf("read the rules: %w", err)
		}
		if len(bytes.Fields(out)) == rules {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("what is stored has not been judged by all %d rules within %s", rules, auditTime)
		}
	}
}
