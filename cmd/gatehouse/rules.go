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
	} else {
		r.book.Put(o)
	}
	r.statuses.SeenRule(o.Name)
}

func (r ruling) exception(o *rulesv1alpha1.AdmissionException, deleted bool) {
	if deleted {
		r.book.DeleteException(o.Namespace, o.Name)
		return
	}
	r.book.PutException(o)
	r.statuses.SeenException(o.Namespace, o.Name)
}
