package xds

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func (p *script) wantRejected(want map[string]string) {
	p.t.Helper()
	got := map[string]string{}
	for n, words := range p.s.snapshot("pod").Rejected {
		got[letters(n.Type)+" "+n.Name] = words
	}
	if diff := cmp.Diff(want, got); diff != "" {
		p.t.Fatalf("rejections other than wanted (-want +got):\n%s", diff)
	}
}

func TestRejectedResourceIsNamedByEnvoy(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1", "CDS c@1", "CDS d@1")
	p.want("CDS b@1 c@1 d@1")
	p.nack("CDS", "Error adding/updating cluster(s) c: no such extension")
	p.want("CDS b@1 d@1")
	p.ack("CDS")
	p.want()
	p.wantRejected(map[string]string{"CDS c": "no such extension"})
	p.publish("CDS c@1", "CDS b@2")
	p.want("CDS b@2")
	p.ack("CDS")
	p.publish("CDS c@2")
	p.want("CDS c@2")
	p.wantRejected(map[string]string{"CDS c": "no such extension"})
	p.ack("CDS")
	p.wantRejected(map[string]string{})
}

func TestRefusalEndsWhenTheFleetGoesBack(t *testing.T) {
	p := serving(t)
	p.publish("RDS r@2")
	p.want("RDS r@2")
	p.nack("RDS", "no")
	p.wantRejected(map[string]string{"RDS r": "no"})
	p.s.news = false
	p.publish("RDS r@1 CDS:a")
	p.want()
	p.wantRejected(map[string]string{})
	if !p.s.news {
		t.Error("the end of the rejection is not reported")
	}
}

func TestRefusalEndsWithItsResource(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1")
	p.want("CDS b@1")
	p.nack("CDS", "no")
	p.wantRejected(map[string]string{"CDS b": "no"})
	p.want()
	p.publish("-CDS:b")
	p.want()
	p.wantRejected(map[string]string{})
}

// Routes that were rejected together with others and have moved to a new cluster meanwhile wait for its endpoints.
func TestNeighbourOfARejectedResourceWaitsForItsNewCluster(t *testing.T) {
	p := serving(t)
	p.ask("RDS", "q")
	p.want("RDS -q")
	p.ack("RDS")
	p.publish("RDS q@1 CDS:a", "RDS r@2 CDS:a")
	p.want("RDS q@1 r@2")
	p.publish("CDS b@1 EDS:b", "EDS b@1", "RDS r@3 CDS:b")
	p.want("CDS b@1")
	p.nack("RDS", "q is broken")
	p.want()
	p.ask("EDS", "b")
	p.want("EDS b@1")
	p.ack("EDS")
	p.want("RDS r@3")
}

// After a rejected version of a new cluster, the next version is waited for in the same way.
func TestNewVersionOfARejectedClusterIsWaitedFor(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1 EDS:b", "EDS b@1")
	p.want("CDS b@1")
	p.f.convict("1", "another proxy rejected it, too", p.now)
	p.want()
	p.publish("CDS b@2 EDS:b")
	p.want()
	p.nack("CDS", "no")
	p.publish("RDS r@2 CDS:b")
	p.want("CDS b@2")
	p.ask("EDS", "b")
	p.want("EDS b@1")
	p.ack("EDS")
	p.want("RDS r@2")
}

// A rejected part that no longer exists makes room for new ones.
func TestRejectedPartsOfThePastAreForgotten(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@bad EDS:b", "CDS c@worse EDS:c")
	p.f.convict("bad", "", p.now)
	for i := range guiltyLimit - 1 {
		p.f.convict(fmt.Sprint("gone ", i), "", p.now)
	}
	p.f.convict("worse", strings.Repeat("ü", briefLimit), p.now)
	if words, noted := p.f.guilty["worse"]; !noted || len(words) > briefLimit+len("…") || !utf8.ValidString(words) {
		t.Errorf("of %d rejected parts the last is noted: %t, in %d bytes", len(p.f.guilty), noted, len(words))
	}
	if _, noted := p.f.guilty["bad"]; !noted || len(p.f.guilty) != 2 {
		t.Errorf("%d rejected parts are noted, want the two that the fleet has; the first: %t", len(p.f.guilty), noted)
	}
}

// Envoy removes clusters even if it rejects the response, so a cluster that comes back then is new.
func TestClusterThatComesBackAfterARejectedRemovalIsWaitedFor(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1 EDS:b", "EDS b@1")
	p.want("CDS b@1")
	p.ask("EDS", "b")
	p.acknowledge()
	p.publish("-CDS:b", "-EDS:b")
	p.want()
	p.after(5 * time.Second)
	p.publish("CDS c@1")
	p.want("CDS c@1 -b")
	p.nack("CDS", "c: no")
	p.publish("CDS b@2 EDS:b", "EDS b@2", "RDS r@2 CDS:b")
	p.want("CDS b@2", "EDS b@2")
	p.ack("CDS")
	p.want()
	p.ack("EDS")
	p.want("RDS r@2")
}

func TestSeveralRejectedResourcesGetTheirOwnWords(t *testing.T) {
	p := serving(t)
	p.publish("CDS ns/b@1", "CDS ns/b/2@1", "CDS ns/c@1")
	p.want("CDS ns/b@1 ns/b/2@1 ns/c@1")
	p.nack("CDS", "Error adding/updating cluster(s) ns/b/2: bad address, ns/c: bad port")
	p.want("CDS ns/b@1")
	p.wantRejected(map[string]string{"CDS ns/b/2": "bad address", "CDS ns/c": "bad port"})
}

func TestRefusalThatNamesNothingIsBisected(t *testing.T) {
	p := serving(t)
	p.publish("EDS a@2")
	p.ask("EDS", "b", "c", "d", "e")
	p.want("EDS a@2 -b -c -d -e")
	p.ack("EDS")
	p.publish("EDS b@1", "EDS c@1", "EDS d@1", "EDS e@1")
	bad := map[string]bool{"c": true}
	var log []string
	for range 20 {
		lines := p.take()
		log = append(log, lines...)
		if len(lines) == 0 {
			break
		}
		rejected := false
		for _, r := range p.open["EDS"][0].resources {
			rejected = rejected || bad[r.Name]
		}
		if rejected {
			p.nack("EDS", "Proto constraint validation failed")
		} else {
			p.ack("EDS")
		}
	}
	want := "EDS b@1 c@1 d@1 e@1|EDS b@1 c@1|EDS d@1 e@1|EDS b@1|EDS c@1"
	if got := strings.Join(log, "|"); got != want {
		t.Fatalf("sent %q, want %q", got, want)
	}
	p.wantRejected(map[string]string{"EDS c": "Proto constraint validation failed"})
}

func TestRejectedAnswerIsSentAgainAloneWhenAskedFor(t *testing.T) {
	p := serving(t)
	p.publish("EDS a@2")
	p.want("EDS a@2")
	p.nack("EDS", "no")
	p.want()
	p.ask("EDS", "a")
	p.want("EDS a@2")
	p.nack("EDS", "no")
	p.want()
}

func TestRejectedClusterDoesNotHoldUpRoutes(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1 EDS:b", "EDS b@1", "RDS r@2 CDS:a CDS:b")
	p.want("CDS b@1")
	p.nack("CDS", "no")
	p.want("RDS r@2")
}

func TestRemovalInARejectedResponseIsSentAgain(t *testing.T) {
	p := serving(t)
	p.publish("LDS m@1", "-LDS:l")
	p.want("LDS m@1 -l")
	p.nack("LDS", "Error adding/updating listener(s) m: no such filter")
	p.want("LDS -l")
	p.ack("LDS")
	p.want()
	if got := p.s.snapshot("pod").Listeners; len(got) != 0 {
		t.Fatalf("the proxy is said to have listeners %v, want none", got)
	}
}

func TestAnswerToAnOlderResponseSaysNothingOfTheNewer(t *testing.T) {
	p := serving(t)
	p.publish("CDS b@1")
	p.want("CDS b@1")
	p.after(time.Second)
	p.publish("CDS b@2")
	p.want("CDS b@2")
	p.nack("CDS", "b is bad")
	p.want()
	p.wantRejected(map[string]string{})
	p.ack("CDS")
	p.want()
}

func TestMention(t *testing.T) {
	tests := map[string]struct {
		message, name string
		want          int
	}{
		"alone":                  {"foo", "foo", 0},
		"before a colon":         {"cluster(s) ns/a: bad", "ns/a", 11},
		"in quotes":              {"listener 'http' is bad", "http", 10},
		"at the end":             {"cannot add a/b.", "a/b", 11},
		"part of a longer path":  {"cluster ns/a/b: bad", "ns/a", -1},
		"tail of a longer path":  {"cluster x/ns/a: bad", "ns/a", -1},
		"longer first":           {"ns/a/b: bad, ns/a: bad", "ns/a", 13},
		"host with a dot after":  {"a.b.c", "a.b", -1},
		"no mention":             {"bad", "ns/a", -1},
		"an empty name is never": {"bad", "", -1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := mention(tc.message, tc.name); got != tc.want {
				t.Errorf("mention(%q, %q) = %d, want %d", tc.message, tc.name, got, tc.want)
			}
		})
	}
}

func TestWordsHaveNoDump(t *testing.T) {
	for message, want := range map[string]string{
		"Error adding/updating listener(s) l: no such filter\n":                               "Error adding/updating listener(s) l: no such filter",
		"Unable to unpack as Secret: goo.gle/debugproto  \ntype_url: \"x\"\nvalue: \"key\"\n": "Unable to unpack as Secret",
		"Unable to unpack as Secret: \ntype_url: \"x\"\nvalue: \"key\"":                       "Unable to unpack as Secret",
	} {
		if got := words(message); got != want {
			t.Errorf("words(%q) = %q, want %q", message, got, want)
		}
	}
}

func FuzzBlame(f *testing.F) {
	f.Add("Error adding/updating cluster(s) ns/a: bad, ns/a/b: worse.", "ns/a", "ns/a/b")
	f.Add("", "", "x")
	f.Fuzz(func(t *testing.T, message, a, b string) {
		for name, words := range blame(message, []string{a, b}) {
			if !strings.Contains(message, words) || !strings.Contains(message, name) {
				t.Errorf("blame(%q) says %q of %q, which the message does not", message, words, name)
			}
		}
	})
}

// The answers identify each of several secrets in flight. A rejected one is replaced by its previous version.
func TestRejectedSecretIsToldApart(t *testing.T) {
	p := serving(t)
	p.publish("SDS a@1", "SDS b@1", "SDS c@1")
	p.ask("SDS", "a", "b", "c")
	p.want("SDS a@1", "SDS b@1", "SDS c@1")
	p.acknowledge()
	p.publish("SDS a@2", "SDS b@2", "SDS c@2")
	p.want("SDS a@2", "SDS b@2", "SDS c@2")
	p.ack("SDS")
	p.nack("SDS", "too weak")
	p.want("SDS b@1")
	p.ack("SDS")
	p.wantRejected(map[string]string{"SDS b": "too weak"})
	p.ack("SDS")
	p.want()
	p.wantRejected(map[string]string{"SDS b": "too weak"})
	p.publish("SDS b@3")
	p.want("SDS b@3")
	p.ack("SDS")
	p.wantRejected(map[string]string{})
	if _, guilty := p.f.guilty["2"]; !guilty || len(p.f.guilty) != 1 {
		t.Errorf("held against the fleet is %v, want version 2", p.f.guilty)
	}
}

// A proxy acknowledges bytes that it rejected before, on an earlier stream too. So it gets a secret that it has not
// accepted in new bytes, and an accepted one in the accepted bytes.
func TestNoBytesAreSentTwiceBeforeTheyAreTaken(t *testing.T) {
	for typ, name := range map[string]string{"SDS": "s", "SRDS": "l/x"} {
		t.Run(typ, func(t *testing.T) {
			p := newScript(t)
			p.publish("CDS a@1", typ+" "+name+"@1")
			seen := map[string]bool{}
			sent := func() string {
				t.Helper()
				p.want(typ + " " + name + "@1")
				return string(p.open[typ][0].resources[0].Body())
			}
			for range 3 {
				p.reconnect()
				p.ask(typ, name)
				for range 2 {
					body := sent()
					if seen[body] {
						t.Fatalf("%q was sent before", body)
					}
					seen[body] = true
					p.nack(typ, "no")
					p.ask(typ, name)
				}
				body := sent()
				p.ack(typ)
				p.ask(typ, name)
				if again := sent(); again != body {
					t.Errorf("what the proxy has taken is sent as %q, want %q", again, body)
				}
			}
		})
	}
}
