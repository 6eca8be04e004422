package translator

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator/flow"
)

// classOf is the class of a Gateway; false if that is not ours. A Gateway whose class no longer exists keeps the last
// state of the class, and is lost: its Envoys continue to serve, but it may belong to another controller now.
func (t *Tables) classOf(r *flow.Read, key string, g *gwapiv1.Gateway) (class *classRow, lost, ok bool) {
	name := string(g.Spec.GatewayClassName)
	if class, ok = t.classes.Get(r, name); ok {
		return class, false, true
	}
	last, ok := t.in.lostClasses.Get(r, key)
	if !ok {
		return nil, false, false
	}
	class, ok = t.class(r, name, last)
	return class, true, ok
}

// ClassUse reports whether Gateways use a GatewayClass. The class has a finalizer while they do.
type ClassUse int

const (
	// ClassGone is the use of a class that does not exist or is another controller's, whoever names it.
	ClassGone ClassUse = iota
	// ClassUnused is the use of a class of ours that no Gateway names.
	ClassUnused
	// ClassUsed is the use of a class of ours that Gateways name.
	ClassUsed
)

// classUse is how a class of ours is used.
type classUse struct {
	Class *gwapiv1.GatewayClass
	Use   ClassUse
}

func (t *Tables) classUse(r *flow.Read, name string, c *classRow) (classUse, bool) {
	if used, _ := t.usedClasses.Get(r, name); used {
		return classUse{c.Class, ClassUsed}, true
	}
	return classUse{c.Class, ClassUnused}, true
}

func namedClass(_ string, g *gwapiv1.Gateway) []string {
	return []string{string(g.Spec.GatewayClassName)}
}

func anyMember[T any](*flow.Read, string, []flow.Row[T]) (bool, bool) { return true, true }

// keepLost remembers, for each Gateway that does not change, the class that a batch of events removes. A class that is
// deleted, or created again for another controller, must not end the traffic of running Gateways. It is called before
// the events are set.
func (w *World) keepLost(events []Event) {
	classes, gateways := lastOf[*gwapiv1.GatewayClass](events), lastOf[*gwapiv1.Gateway](events)
	if len(classes) == 0 && len(gateways) == 0 {
		return
	}
	in, r := &w.tables.in, w.engine.Read()
	for name, class := range classes {
		w.keepClass(r, name, class)
	}
	for key, g := range gateways {
		last, had := in.gateways.Get(r, key)
		if !had || g == nil || g.UID != last.UID || g.Spec.GatewayClassName != last.Spec.GatewayClassName {
			flow.Delete(w.engine, in.lostClasses, key)
		}
	}
}

// keepClass does so for one class, which is about to be what is given, or nil.
func (w *World) keepClass(r *flow.Read, name string, class *gwapiv1.GatewayClass) {
	in := &w.tables.in
	last, had := in.classes.Get(r, name)
	ours := class != nil && w.tables.ours(class)
	if !ours && (!had || !w.tables.ours(last)) {
		return // It was not ours before either.
	}
	for _, g := range in.gateways.All(r) {
		switch {
		case string(g.Value.Spec.GatewayClassName) != name:
		case ours:
			flow.Delete(w.engine, in.lostClasses, g.Key)
		default:
			flow.Set(w.engine, in.lostClasses, g.Key, last)
		}
	}
}

func (t *Tables) ours(c *gwapiv1.GatewayClass) bool {
	return string(c.Spec.ControllerName) == t.settings.ControllerName
}

// lastOf are the objects of a type as a batch of events leaves them, by key; nil for those that are deleted.
func lastOf[T Object](events []Event) map[string]T {
	var last map[string]T
	for _, e := range events {
		o, ok := e.Object.(T)
		if !ok {
			continue
		}
		if last == nil {
			last = map[string]T{}
		}
		key := keyOf(o)
		if last[key] = o; e.Deleted {
			var none T
			last[key] = none
		}
	}
	return last
}
