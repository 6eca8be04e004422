package main

import (
	"fmt"
	"time"

	"gatehouse/api/config"
	"gatehouse/policies/rules"
	"gatehouse/translator"
)

// newTables declares the tables with what the configuration says about them, and with the default of what flags say.
func newTables(c *config.EnvoyGateway) (*translator.Tables, error) {
	return tablesWarning(c, translator.DefaultExpiryWarning)
}

// tablesWarning declares the tables with how long before certificates expire the status tells of it.
func tablesWarning(c *config.EnvoyGateway, expiry time.Duration) (*translator.Tables, error) {
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
		ExpiryWarning:      expiry,
	}, engine), nil
}
