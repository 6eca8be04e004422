package main

import (
	"fmt"

	"gatehouse/api/config"
	"gatehouse/policies/rules"
	"gatehouse/translator"
)

// newTables declares the tables with what the configuration says about them.
func newTables(c *config.EnvoyGateway) (*translator.Tables, error) {
	engine, err := rules.Builtin()
	if err != nil {
		return nil, fmt.Errorf("compile the built-in rules: %w", err)
	}
	return translator.NewTables(translator.Settings{
		ControllerName:     c.Gateway.ControllerName,
		InGatewayNamespace: c.Provider.Kubernetes.Deploy.Type == config.DeployGatewayNamespace,
		ExternalNames:      c.ExtensionAPIs.EnableExternalName,
		RouteMemory:        c.Limits.RouteMemoryBytes(),
		EnabledKinds:       c.EnabledKinds(),
		RetriesDisabled:    c.Backends.DisableRetries,
	}, engine), nil
}
