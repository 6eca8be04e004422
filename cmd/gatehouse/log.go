package main

import (
	"io"
	"log/slog"

	"github.com/go-logr/logr"

	"gatehouse/api/config"
)

// componentsOf lists, for each logger, the components of the configuration that set its level. Any other logger has the
// default level.
var componentsOf = map[string][]config.LogComponent{
	"controller":         {config.LogGatewayAPI, config.LogXDSTranslator},
	"xds":                {config.LogXDS, config.LogXDSServer},
	"infrastructure":     {config.LogInfrastructure},
	"classes":            {config.LogProvider},
	"fetcher":            {config.LogProvider},
	"kinds":              {config.LogProvider},
	"status":             {config.LogProvider},
	"certs":              {config.LogProvider},
	"replicas":           {config.LogProvider},
	"controller-runtime": {config.LogProvider},
	"global-ratelimit":   {config.LogGlobalRateLimit},
	"webhook":            {config.LogWebhook},
	"audit":              {config.LogWebhook},
}

var slogLevels = map[config.LogLevel]slog.Level{
	config.LogLevelDebug: slog.LevelDebug, config.LogLevelInfo: slog.LevelInfo, config.LogLevelWarn: slog.LevelWarn,
	config.LogLevelError: slog.LevelError,
}

// newLogger returns a logger that writes JSON, with the configured levels.
func newLogger(w io.Writer, l *config.Logging) logr.Logger {
	return logr.New(leveled{
		LogSink: logr.FromSlogHandler(slog.NewJSONHandler(w, nil)).GetSink(), levels: l,
		least: slogLevels[l.Level[config.LogDefault]],
	})
}

// leveled is a LogSink whose level depends on its name. Errors are logged at every level.
type leveled struct {
	logr.LogSink
	levels *config.Logging
	least  slog.Level
	named  bool
}

func (s leveled) Enabled(verbosity int) bool { return slog.Level(-verbosity) >= s.least }

func (s leveled) WithValues(keysAndValues ...any) logr.LogSink {
	s.LogSink = s.LogSink.WithValues(keysAndValues...)
	return s
}

// WithName chooses the level by the first name. If several components of that name have a level, the most verbose one
// applies.
func (s leveled) WithName(name string) logr.LogSink {
	s.LogSink = s.LogSink.WithName(name)
	if s.named {
		return s
	}
	s.named = true
	given := false
	for _, component := range componentsOf[name] {
		if text, ok := s.levels.Level[component]; ok && (!given || slogLevels[text] < s.least) {
			s.least, given = slogLevels[text], true
		}
	}
	return s
}
