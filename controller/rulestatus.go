package controller

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/admissionrule"
	"gatehouse/policies/verdict"
)

const (
	// ruleAgain is how often the status of a rule is computed again: the CRDs that it is checked against may change.
	ruleAgain = 10 * time.Minute
	// ruleLimit is the time limit for one status.
	ruleLimit = 10 * time.Second
)

// RuleStatuses writes whether AdmissionRules are in effect into their statuses. It runs on the leader.
type RuleStatuses struct {
	client  client.Client
	schemas func(context.Context) admissionrule.Schemas
	log     logr.Logger
	now     func() time.Time
	queue   workqueue.TypedRateLimitingInterface[client.ObjectKey]
}

// NewRuleStatuses returns a writer that reads rules with c, from a cache.
func NewRuleStatuses(c client.Client, schemas func(context.Context) admissionrule.Schemas, log logr.Logger) *RuleStatuses {
	return &RuleStatuses{
		client: c, schemas: schemas, log: log, now: time.Now,
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[client.ObjectKey]()),
	}
}

// Seen receives the name of a rule that was created or changed.
func (s *RuleStatuses) Seen(name string) { s.queue.Add(client.ObjectKey{Name: name}) }

// Start writes statuses until ctx ends. It can be started again afterwards, with all rules.
func (s *RuleStatuses) Start(ctx context.Context) error {
	all := &rulesv1alpha1.AdmissionRuleList{}
	if err := s.client.List(ctx, all); err == nil { // It fails if the kind is not installed. Its rules are seen once it is.
		for _, rule := range all.Items {
			s.Seen(rule.Name)
		}
	}
	stopped := context.AfterFunc(ctx, func() { s.queue.AddAfter(client.ObjectKey{}, 0) }) // It wakes the loop below.
	defer stopped()
	for {
		key, _ := s.queue.Get()
		if ctx.Err() != nil {
			s.queue.Done(key)
			return nil
		}
		if err := s.write(ctx, key); err != nil {
			s.log.Error(err, "writing the status of an AdmissionRule", "rule", key.Name)
			s.queue.AddRateLimited(key)
		} else {
			s.queue.Forget(key)
		}
		s.queue.Done(key)
	}
}

func (s *RuleStatuses) write(ctx context.Context, key client.ObjectKey) error {
	ctx, cancel := context.WithTimeout(ctx, ruleLimit) // The cache waits for objects of a kind that is gone.
	defer cancel()
	rule := &rulesv1alpha1.AdmissionRule{}
	err := s.client.Get(ctx, key, rule)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading AdmissionRule %s: %w", key.Name, err)
	}
	if err != nil || key.Name == "" {
		return nil
	}
	s.queue.AddAfter(key, ruleAgain)
	changed := rule.DeepCopy()
	compiled, problems := admissionrule.Compile(rule, s.schemas(ctx))
	condition := ruleCondition(compiled != nil, problems)
	condition.ObservedGeneration, condition.LastTransitionTime = rule.Generation, metav1.NewTime(s.now())
	meta.SetStatusCondition(&changed.Status.Conditions, condition)
	if equality.Semantic.DeepEqual(rule.Status, changed.Status) {
		return nil
	}
	if err := s.client.Status().Update(ctx, changed); err != nil {
		return client.IgnoreNotFound(err)
	}
	return nil
}

// ruleCondition says whether a rule is in effect, and what is wrong with it.
func ruleCondition(inEffect bool, problems []verdict.Problem) metav1.Condition {
	c := metav1.Condition{Type: "Accepted", Status: metav1.ConditionTrue, Reason: "Accepted"}
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	c.Message = strings.Join(lines, "\n")
	switch {
	case !inEffect:
		c.Status, c.Reason = metav1.ConditionFalse, admissionrule.ReasonInvalid
	case admissionrule.Refused(problems):
		// It is evaluated nevertheless: a CRD may have lost a field since, and a rule that denies must not fall silent.
		c.Reason = "AcceptedWithErrors"
	case len(problems) > 0:
		c.Reason = admissionrule.ReasonUnchecked
	}
	const most = 32 << 10 // The API server refuses longer messages.
	if len(c.Message) > most {
		c.Message = strings.ToValidUTF8(c.Message[:most], "")
	}
	return c
}
