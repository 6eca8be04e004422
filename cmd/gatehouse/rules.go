package main

import (
	"context"
	"fmt"

	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/controller"
	"gatehouse/controller/audit"
	"gatehouse/controller/kube"
	"gatehouse/translator"
	"gatehouse/webhook"
)

// ruling are the rules of the platform: those that admission evaluates, what is stored judged by them, and their statuses.
type ruling struct {
	book     *webhook.RuleBook
	auditor  *audit.Auditor
	statuses *controller.RuleStatuses
}

func (p *plane) addRules(o *serveOptions) error {
	schemas := kube.Schemas(p.manager.GetAPIReader())
	served, err := discovery.NewDiscoveryClientForConfig(p.manager.GetConfig())
	if err != nil {
		return fmt.Errorf("make a client for the kinds of reports: %w", err)
	}
	log := p.log.WithName("audit")
	book := webhook.NewRuleBook(webhook.RuleOptions{
		Live: p.manager.GetAPIReader(), Namespaces: p.manager.GetClient(), Schemas: schemas,
		Metrics: metrics.Registry, Log: p.log.WithName("webhook"),
	})
	auditor := audit.New(audit.Options{
		Tables: p.world, Live: p.manager.GetAPIReader(), Params: book.Params, Scheme: p.manager.GetScheme(),
		Known:    func(ctx context.Context) bool { return p.controller.WaitSynced(ctx) },
		Changed:  func(rule string) { p.rules.statuses.SeenRule(rule) },
		Reports:  &audit.Reports{Client: p.manager.GetClient(), Discovery: served, Log: log},
		Excluded: o.excluded, Metrics: metrics.Registry, Log: log,
	})
	p.rules = ruling{
		book: book, auditor: auditor,
		statuses: controller.NewRuleStatuses(p.manager.GetClient(), schemas, auditor.Results, p.log.WithName("status")),
	}
	return nil
}

// before takes events of rules and exceptions, and passes all others on.
func (r ruling) before(next func(...translator.Event)) func(...translator.Event) {
	return func(events ...translator.Event) {
		var others []translator.Event
		for _, e := range events {
			switch o := e.Object.(type) {
			case *rulesv1alpha1.AdmissionRule:
				r.rule(o, e.Deleted)
			case *rulesv1alpha1.AdmissionException:
				r.exception(o, e.Deleted)
			default:
				others = append(others, e)
			}
		}
		if len(others) > 0 {
			next(others...)
		}
	}
}

func (r ruling) rule(o *rulesv1alpha1.AdmissionRule, deleted bool) {
	if deleted {
		r.book.Delete(o.Name)
		r.auditor.DeleteRule(o.Name)
	} else {
		r.auditor.PutRule(o, r.book.Put(o))
	}
	r.statuses.SeenRule(o.Name)
}

func (r ruling) exception(o *rulesv1alpha1.AdmissionException, deleted bool) {
	if deleted {
		r.book.DeleteException(o.Namespace, o.Name)
		r.auditor.DeleteException(o.Namespace, o.Name)
		return
	}
	r.book.PutException(o)
	r.auditor.PutException(o)
	r.statuses.SeenException(o.Namespace, o.Name)
}
