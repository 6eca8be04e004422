package flow_test

import (
	"context"
	"fmt"

	"gatehouse/translator/flow"
)

func Example() {
	g := flow.NewGraph()
	services := flow.Input(g, "services", flow.Same[int]) // name -> port
	routes := flow.Input(g, "routes", flow.Same[string])  // name -> service
	verdicts := flow.Derive(routes, "verdicts", flow.Same[string],
		func(r *flow.Read, _, service string) (string, bool) {
			if port, ok := services.Get(r, service); ok {
				return fmt.Sprintf("goes to port %d", port), true
			}
			return fmt.Sprintf("service %q is not there", service), true
		})

	e := flow.NewEngine(g)
	flow.Set(e, routes, "cart", "shop")
	e.Commit()

	_ = e.Try(context.Background(), func() { flow.Set(e, services, "shop", 8080) }, func(c *flow.Changes) {
		for _, key := range flow.Changed(c, verdicts) {
			was, _ := flow.Before(c, verdicts, key)
			now, _ := verdicts.Get(e.Read(), key)
			fmt.Printf("%s would change from %q to %q\n", key, was, now)
		}
	})
	now, _ := verdicts.Get(e.Read(), "cart")
	fmt.Println(now)
	fmt.Println(e.Explain("verdicts", "cart"))
	// Output:
	// cart would change from "service \"shop\" is not there" to "goes to port 8080"
	// service "shop" is not there
	// [routes[cart] services[shop] (missing)] true
}
