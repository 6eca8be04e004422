package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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

// RuleStatuses writes whether AdmissionRules and AdmissionExceptions are in effect into their statuses, and what violates
// rules. It runs on the leader.
type RuleStatuses struct {
	client  client.Client
	schemas func(context.Context) admissionrule.Schemas
	log     logr.Logger
	now     func() time.Time
	// results are what violates a rule, and whether that is known.
	results func(rule string) (*rulesv1alpha1.RuleAudit, bool)
	// judged are the rules whose condition was found a short time ago.
	judged map[string]judgedRule
	// queue has the names of exceptions, and those of rules without a namespace.
	queue workqueue.TypedRateLimitingInterface[client.ObjectKey]
}

// judgedRule is the condition of a version of a rule, and until when it holds.
type judgedRule struct {
	uid        types.UID
	generation int64
	condition  metav1.Condition
	until      time.Time
}

// NewRuleStatuses returns a writer that reads rules with c, from a cache. results returns what violates a rule, and
// whether that is known.
func NewRuleStatuses(c client.Client, schemas func(context.Context) admissionrule.Schemas,
	results func(rule string) (*rulesv1alpha1.RuleAudit, bool), log logr.Logger,
) *RuleStatuses {
	return &RuleStatuses{
		client: c, schemas: schemas, log: log, now: time.Now, results: results, judged: map[string]judgedRule{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[client.ObjectKey]()),
	}
}

// SeenRule receives the name of a rule that was created, changed or deleted.
func (s *RuleStatuses) SeenRule(name string) { s.queue.Add(client.ObjectKey{Name: name}) }

// SeenException receives the name of an exception that was created or changed.
func (s *RuleStatuses) SeenException(namespace, name string) {
	s.queue.Add(client.ObjectKey{Namespace: namespace, Name: name})
}

// Start writes statuses until ctx ends. It can be started again afterwards, with all rules and exceptions.
func (s *RuleStatuses) Start(ctx context.Context) error {
	all := &rulesv1alpha1.AdmissionRuleList{}
	if err := s.client.List(ctx, all); err == nil { // It fails if the kind is not installed. Its rules are seen once it is.
		for _, rule := range all.Items {
			s.SeenRule(rule.Name)
		}
	}
	s.seeExceptions(ctx, func(*rulesv1alpha1.AdmissionException) bool { return true })
	stopped := context.AfterFunc(ctx, func() { s.queue.AddAfter(client.ObjectKey{}, 0) }) // It wakes the loop below.
	defer stopped()
	for {
		key, _ := s.queue.Get()
		if ctx.Err() != nil {
			s.queue.Done(key)
			return nil
		}
		if err := s.write(ctx, key); err != nil {
			s.log.Error(err, "writing the status of a rule", "namespace", key.Namespace, "name", key.Name)
			s.queue.AddRateLimited(key)
		} else {
			s.queue.Forget(key)
		}
		s.queue.Done(key)
	}
}

// seeExceptions computes the statuses of some exceptions again.
func (s *RuleStatuses) seeExceptions(ctx context.Context, which func(*rulesv1alpha1.AdmissionException) bool) {
	all := &rulesv1alpha1.AdmissionExceptionList{}
	if s.client.List(ctx, all) != nil {
		return // The kind is not installed.
	}
	for i := range all.Items {
		if e := &all.Items[i]; which(e) {
			s.SeenException(e.Namespace, e.Name)
		}
	}
}

func (s *RuleStatuses) seeExceptionsFrom(ctx context.Context, rule string) {
	s.seeExceptions(ctx, func(e *rulesv1alpha1.AdmissionException) bool { return slices.Contains(e.Spec.Rules, rule) })
}

func (s *RuleStatuses) write(ctx context.Context, key client.ObjectKey) error {
	if key.Name == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ruleLimit) // The cache waits for objects of a kind that is gone.
	defer cancel()
	if key.Namespace != "" {
		return s.writeException(ctx, key)
	}
	return s.writeRule(ctx, key)
}

func (s *RuleStatuses) writeRule(ctx context.Context, key client.ObjectKey) error {
	rule, err := s.rule(ctx, key.Name)
	if err != nil {
		return err
	}
	if rule == nil {
		delete(s.judged, key.Name)
		s.seeExceptionsFrom(ctx, key.Name)
		return nil
	}
	s.queue.AddAfter(key, ruleAgain)
	changed := rule.DeepCopy()
	condition, err := s.judge(ctx, rule)
	if err != nil {
		return err
	}
	s.set(&changed.Status.Conditions, condition, rule.Generation)
	if results, known := s.results(rule.Name); known {
		changed.Status.Audit = results
	}
	if equality.Semantic.DeepEqual(rule.Status, changed.Status) {
		return nil
	}
	return client.IgnoreNotFound(s.client.Status().Update(ctx, changed))
}

// judge returns the condition of a rule. It is kept for some time, because compiling a rule costs far more than writing
// new results.
func (s *RuleStatuses) judge(ctx context.Context, rule *rulesv1alpha1.AdmissionRule) (metav1.Condition, error) {
	if j := s.judged[rule.Name]; j.uid == rule.UID && j.generation == rule.Generation && s.now().Before(j.until) {
		return j.condition, nil
	}
	compiled, problems, err := admissionrule.Compile(ctx, rule, s.schemas(ctx))
	if err != nil {
		return metav1.Condition{}, err
	}
	s.seeExceptionsFrom(ctx, rule.Name)
	condition := ruleCondition(compiled != nil, problems)
	s.judged[rule.Name] = judgedRule{rule.UID, rule.Generation, condition, s.now().Add(ruleAgain / 2)}
	return condition, nil
}

// rule reads a rule; nil if it does not exist.
func (s *RuleStatuses) rule(ctx context.Context, name string) (*rulesv1alpha1.AdmissionRule, error) {
	rule := &rulesv1alpha1.AdmissionRule{}
	err := s.client.Get(ctx, client.ObjectKey{Name: name}, rule)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading AdmissionRule %s: %w", name, err)
	}
	return rule, nil
}

func (s *RuleStatuses) writeException(ctx context.Context, key client.ObjectKey) error {
	source := &rulesv1alpha1.AdmissionException{}
	err := s.client.Get(ctx, key, source)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading AdmissionException %s: %w", key, err)
	}
	s.queue.AddAfter(key, ruleAgain)
	rules := map[string]*rulesv1alpha1.AdmissionRule{}
	for _, name := range source.Spec.Rules {
		if rules[name], err = s.rule(ctx, name); err != nil {
			return err
		}
	}
	e, problems := admissionrule.NewException(source)
	problems = append(problems, e.Problems(func(name string) *rulesv1alpha1.AdmissionRule { return rules[name] }, s.now())...)
	changed := source.DeepCopy()
	s.set(&changed.Status.Conditions, exceptionCondition(problems), source.Generation)
	if equality.Semantic.DeepEqual(source.Status, changed.Status) {
		return nil
	}
	return client.IgnoreNotFound(s.client.Status().Update(ctx, changed))
}

func (s *RuleStatuses) set(conditions *[]metav1.Condition, c metav1.Condition, generation int64) {
	c.ObservedGeneration, c.LastTransitionTime = generation, metav1.NewTime(s.now())
	const most = 32 << 10 // The API server refuses longer messages.
	if len(c.Message) > most {
		c.Message = strings.ToValidUTF8(c.Message[:most], "")
	}
	meta.SetStatusCondition(conditions, c)
}

// exceptionCondition says whether an exception is in effect. The first problem that ends it is the reason.
func exceptionCondition(problems []verdict.Problem) metav1.Condition {
	c := metav1.Condition{Type: "Effective", Status: metav1.ConditionTrue, Reason: "Effective", Message: messages(problems)}
	for _, p := range problems {
		if p.Reason == admissionrule.ReasonExpiresSoon {
			c.Reason = p.Reason
			continue
		}
		c.Status, c.Reason = metav1.ConditionFalse, p.Reason
		break
	}
	return c
}

func messages(problems []verdict.Problem) string {
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// ruleCondition says whether a rule is in effect, and what is wrong with it.
func ruleCondition(inEffect bool, problems []verdict.Problem) metav1.Condition {
	c := metav1.Condition{Type: "Accepted", Status: metav1.ConditionTrue, Reason: "Accepted", Message: messages(problems)}
	switch {
	case !inEffect:
		c.Status, c.Reason = metav1.ConditionFalse, admissionrule.ReasonInvalid
	case admissionrule.Refused(problems):
		// It is evaluated nevertheless: a CRD may have lost a field since, and a rule that denies must not fall silent.
		c.Reason = "AcceptedWithErrors"
	case len(problems) > 0:
		c.Reason = admissionrule.ReasonUnchecked
	}
	return c
}
