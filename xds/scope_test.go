package xds

import (
	"testing"
	"time"
)

// scoped starts a proxy with a listener that uses scopes, and one scope.
func scoped(t *testing.T) *script {
	p := newScript(t)
	p.publish("CDS a@1 EDS:a", "EDS a@1", "LDS l@1 SRDS:l", "SRDS l/x@1 CDS:a")
	p.ask("CDS")
	p.want("CDS a@1")
	p.ask("EDS", "a")
	p.want("EDS a@1")
	p.ack("EDS")
	p.ack("CDS")
	p.ask("LDS")
	p.want("LDS l@1")
	p.ask("SRDS")
	p.want("SRDS l/x@1")
	p.ack("LDS")
	if p.s.snapshot("n").Scopes {
		t.Error("the report says that scopes are acknowledged before they are")
	}
	p.ack("SRDS")
	if !p.s.snapshot("n").Scopes {
		t.Error("the report does not say that scopes are acknowledged")
	}
	p.want()
	return p
}

func TestScopesComeAndGoOneByOne(t *testing.T) {
	p := scoped(t)
	p.publish("CDS b@1 EDS:b", "EDS b@1", "SRDS l/y@1 CDS:b", "-SRDS:l/x")
	p.want("CDS b@1", "SRDS -l/x")
	p.ask("EDS", "b")
	p.want("EDS b@1")
	p.ack("SRDS")
	p.ack("EDS")
	p.want("SRDS l/y@1")
}

// A proxy without scopes gets an answer anyway, because its listener waits for it.
func TestNoScopesAreAnAnswer(t *testing.T) {
	p := newScript(t)
	p.publish("LDS l@1 SRDS:l")
	p.ask("LDS")
	p.want("LDS l@1")
	p.ask("SRDS")
	p.want("SRDS")
	p.ack("SRDS")
	if !p.s.snapshot("n").Scopes {
		t.Error("the report does not say that there being no scopes is acknowledged")
	}
}

// Requests of a listener that no longer uses scopes find its scopes for a minute after the last use.
func TestScopesOutliveTheirListener(t *testing.T) {
	for name, change := range map[string][]string{
		"switched": {"LDS l@2 RDS:l", "RDS l@1 CDS:a", "-SRDS:l/x"},
		"removed":  {"LDS m@1 SRDS:m", "-LDS:l", "-SRDS:l/x"},
	} {
		t.Run(name, func(t *testing.T) {
			p := scoped(t)
			p.publish(change...)
			if sent := p.take(); len(sent) != 1 || sent[0][:3] != "LDS" {
				t.Fatalf("sent %v, want the listeners only", sent)
			}
			p.ask("RDS", "l")
			p.acknowledge()
			p.after(59 * time.Second)
			p.want()
			p.after(time.Second)
			p.want("SRDS -l/x")
		})
	}
}

func TestReconnectSendsNoScopeAgain(t *testing.T) {
	p := scoped(t)
	p.reconnect()
	p.ask("CDS", "a=1")
	p.ask("EDS", "a=1")
	p.ask("LDS", "l=1")
	p.ask("SRDS", "l/x=1")
	p.want("EDS a@1")
	if !p.s.snapshot("n").Scopes {
		t.Error("the report does not say that scopes are acknowledged")
	}
}
