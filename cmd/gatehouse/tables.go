package main

import (
	"fmt"

	"gatehouse/api/config"
	"gatehouse/policies/rules"
	"gatehouse/translator"
)

// newTables declares the tables with what the configuration says about them, and with what flags say in settings.
func newTables(c *config.EnvoyGateway, settings translator.Settings) (*translator.Tables, error) {
	engine, err := rules.Builtin()
	if err != nil {
		return nil, fmt.Errorf("compile the built-in rules: %w", err)
	}
	settings.ControllerName = c.Gateway.ControllerName
	settings.InGatewayNamespace = c.Provider.Kubernetes.Deploy.Type == config.DeployGatewayNamespace
	settings.ExternalNames = c.ExtensionAPIs.EnableExternalName
	settings.RouteMemory = c.Limits.RouteMemoryBytes()
	settings.EnabledKinds = c.EnabledKinds()
	settings.RetriesDisabled = c.Backends.DisableRetries
	if settings.RateLimits == nil { // For files, the names do not matter.
		settings.RateLimits = rateLimits(c.RateLimit, settings.Namespace, defaultDomain)
	}
	return translator.NewTables(settings, engine), nil
}
