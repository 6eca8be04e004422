package main

import (
	"context"

	"github.com/cert-manager/cert-manager/pkg/issuer/acme/http/solver"
	logf "github.com/cert-manager/cert-manager/pkg/logs"
)

// runSolver answers one HTTP-01 challenge.
func runSolver(ctx context.Context, args []string) error {
	s := &solver.HTTP01Solver{}
	flags := newFlags("acmesolver")
	flags.IntVar(&s.ListenPort, "listen-port", 8089, "the port to listen on")
	flags.StringVar(&s.Domain, "domain", "", "the host to answer for")
	flags.StringVar(&s.Token, "token", "", "the token of the challenge, which is the end of its path")
	flags.StringVar(&s.Key, "key", "", "the answer")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Listen(logf.FromContext(ctx)) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}
