package main

import (
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/controller"
	"gatehouse/controller/kube"
	"gatehouse/translator"
	"gatehouse/webhook"
)

// ruling are the rules of the platform: those that admission evaluates, and their statuses.
type ruling struct {
	book     *webhook.RuleBook
	statuses *controller.RuleStatuses
}

func (p *plane) addRules() {
	schemas := kube.Schemas(p.manager.GetAPIReader())
	p.rules = ruling{
		book: webhook.NewRuleBook(webhook.RuleOptions{
			Live: p.manager.GetAPIReader(), Namespaces: p.manager.GetClient(), Schemas: schemas,
			Metrics: metrics.Registry, Log: p.log.WithName("webhook"),
		}),
		statuses: controller.NewRuleStatuses(p.manager.GetClient(), schemas, p.log.WithName("status")),
	}
}

// before takes events of rules, and passes all others on.
func (r ruling) before(next func(...translator.Event)) func(...translator.Event) {
	return func(events ...translator.Event) {
		var others []translator.Event
		for _, e := range events {
			rule, ok := e.Object.(*rulesv1alpha1.AdmissionRule)
			switch {
			case !ok:
				others = append(others, e)
			case e.Deleted:
				r.book.Delete(rule.Name)
			default:
				r.book.Put(rule)
				r.statuses.Seen(rule.Name)
			}
		}
		if len(others) > 0 {
			next(others...)
		}
	}
}
