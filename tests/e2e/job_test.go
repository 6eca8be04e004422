package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestCertificatesFromTheJob: the chart's Job has made the Secret of the control plane before there was one, and has
// gone.
func TestCertificatesFromTheJob(t *testing.T) {
	of := func(args ...string) time.Time {
		t.Helper()
		out, err := kubectl(append([]string{"get", "-n", "gatehouse-system"}, args...)...)
		at, wrong := time.Parse(time.RFC3339, strings.TrimSpace(must(t, out, err)))
		if wrong != nil {
			t.Fatalf("%q: %v", args, wrong)
		}
		return at
	}
	const created = "jsonpath={.metadata.creationTimestamp}"
	secret, deployment := of("secret", "gatehouse", "-o", created), of("deployment", "gatehouse", "-o", created)
	completed := of("events", "--field-selector",
		"involvedObject.kind=Job,involvedObject.name=gatehouse-certgen,reason=Completed", "-o",
		"jsonpath={.items[0].firstTimestamp}")
	if secret.After(completed) || completed.After(deployment) {
		t.Errorf("the Secret is of %s, the Job completed at %s, the Deployment is of %s", secret, completed, deployment)
	}
	out, err := kubectl("get", "jobs,pods,serviceaccounts,roles,rolebindings", "-n", "gatehouse-system", "-o", "name")
	if must(t, out, err); strings.Contains(out, "certgen") {
		t.Errorf("the Job has left behind: %s", out)
	}
}

// job runs the command gatehouse with arguments in pods of a restart policy.
const job = `
apiVersion: batch/v1
kind: Job
metadata: {name: %[1]s}
spec:
  backoffLimit: 1
  template:
    spec:
      restartPolicy: %[2]s
      containers: [{name: %[1]s, image: "gatehouse:dev", args: [%[3]s]}]
`

// TestJobs: the local Kubernetes tells Jobs that completed from those that failed, and removes them when their time is
// over.
func TestJobs(t *testing.T) {
	t.Parallel()
	s := newScene(t, "jobs")
	for name, c := range map[string]struct{ policy, args, want string }{
		"completes":           {"Never", "version", "Complete"},
		"completes-as-well":   {"OnFailure", "version", "Complete"},
		"fails":               {"Never", `certgen, --namespace, "no such"`, "Failed"},
		"fails-in-containers": {"OnFailure", `certgen, --namespace, "no such"`, "Failed"},
	} {
		s.apply(t, fmt.Sprintf(job, name, c.policy, c.args))
		s.becomes(t, "job/"+name, condition(".status", c.want), "True")
	}
	s.kubectl(t, "patch", "job", "completes", "--type=merge", "-p", `{"spec":{"ttlSecondsAfterFinished":1}}`)
	eventually(t, "the completed Job is removed", func() error {
		if out, err := kubectl("get", "job", "-n", s.namespace, "completes"); err == nil {
			return fmt.Errorf("it is there: %s", out)
		}
		return nil
	})
}
