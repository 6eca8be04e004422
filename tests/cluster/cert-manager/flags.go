package main

import (
	"flag"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
)

// newFlags has what the chart sets for several programs: the level of logs, and the namespace of leader election, which
// the only replica of a program does not need.
func newFlags(name string) *pflag.FlagSet {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	logs := flag.NewFlagSet(name, flag.ContinueOnError)
	klog.InitFlags(logs)
	flags.AddGoFlag(logs.Lookup("v"))
	flags.String("leader-election-namespace", "", "not used: there is one replica")
	return flags
}
