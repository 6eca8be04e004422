package translator

import (
	"fmt"

	"gatehouse/policies/verdict"
)

// lack notes that the fleet lacks something for the clusters of a rule. The settings of the fleet are another object, so
// the rule may be right.
func (b *bindingRow) lack(bound *boundRule, unmet string) {
	b.withdraw(bound, fmt.Sprintf("dynamicModules of the EnvoyProxy of %s does not have %s, so it %s: add the module there, or choose another type",
		objectName(gatewayRef(bound.listener.Gateway.Gateway)), unmet, bound.rules.Route.Kind.fails()))
	b.Rejected[len(b.Rejected)-1].Weight = verdict.Unresolved
}
