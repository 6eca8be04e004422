package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatehouse/tests/cluster/node/logs"
	"gatehouse/tests/cluster/node/sandbox"
)

// container is one container of a pod through all its runs.
type container struct {
	pod    *pod
	spec   *corev1.Container
	status *corev1.ContainerStatus // guarded by the pod
	up     chan struct{}           // closed when the container has started for the first time, as its startup probe says

	runs    int
	process *sandbox.Process // while it runs; guarded by the pod
	logs    [2]*logs.File    // of the current or last run, and of the one before; guarded by the pod
}

// run is one run of a container.
type run struct {
	process *sandbox.Process
	log     *logs.File
	dir     string
	id      string
	began   metav1.Time
}

// exitNotStarted is the exit code of a container that could not be started, as container runtimes have it.
const exitNotStarted = 128

// supervise runs the container, again and again as the pod's restart policy says, until life ends. It returns whether
// the last run succeeded.
func (c *container) supervise(life context.Context) bool {
	var backoff backoff
	for {
		began := time.Now()
		exit := c.once(life)
		if life.Err() != nil || !c.restarts(exit) {
			return exit == 0
		}
		delay := backoff.after(time.Since(began))
		c.setWaiting("CrashLoopBackOff", fmt.Errorf("back-off %s restarting failed container %s", delay, c.spec.Name))
		select {
		case <-time.After(delay):
		case <-life.Done():
			c.change(func(s *corev1.ContainerStatus) {
				s.State, s.LastTerminationState = s.LastTerminationState, corev1.ContainerState{}
			})
			return exit == 0
		}
	}
}

// restarts returns whether a container that ended with the exit code runs again.
func (c *container) restarts(exit int) bool {
	if restartsAlways(c.spec) {
		return true
	}
	isInit := false
	for _, i := range c.pod.init {
		isInit = isInit || i == c
	}
	switch c.pod.current().Spec.RestartPolicy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return exit != 0
	default:
		return exit != 0 || !isInit
	}
}

// backoff is how long a container waits before it runs again: the times of the Kubernetes feature
// ReduceDefaultCrashLoopBackOffDecay.
type backoff struct{ delay time.Duration }

const (
	backoffFirst = time.Second
	backoffMost  = time.Minute
	backoffReset = 10 * time.Minute
)

// after returns the delay after a run that took the given time.
func (b *backoff) after(ran time.Duration) time.Duration {
	if b.delay == 0 || ran > backoffReset {
		b.delay = backoffFirst
	} else {
		b.delay = min(2*b.delay, backoffMost)
	}
	return b.delay
}

// once runs the container once and returns its exit code.
func (c *container) once(life context.Context) int {
	r, err := c.start(life)
	if err != nil {
		c.pod.warn("Failed", err)
		now := metav1.Now()
		c.change(func(s *corev1.ContainerStatus) {
			retire(s)
			s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: exitNotStarted, Reason: "StartError", Message: err.Error(), StartedAt: now, FinishedAt: now,
			}}
		})
		return exitNotStarted
	}
	if r == nil {
		return exitNotStarted // The pod stops before the container had all it needs.
	}
	c.change(func(s *corev1.ContainerStatus) {
		retire(s)
		c.process = r.process
		s.ContainerID, s.ImageID = r.id, c.spec.Image
		s.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: r.began}}
	})
	c.attend(life, r)
	c.ended(r)
	return r.process.Exit()
}

// retire makes room for a new state: a run that has ended becomes the last one, and the new one counts as a restart.
func retire(s *corev1.ContainerStatus) {
	if s.State.Terminated != nil {
		s.LastTerminationState = s.State
	}
	if s.LastTerminationState.Terminated != nil {
		s.RestartCount++
	}
}

// start starts the container. While something that it needs is missing it waits, until life ends: then it returns nil.
func (c *container) start(life context.Context) (*run, error) {
	for told := ""; life.Err() == nil; {
		changed := c.pod.changes()
		spec, err := c.sandboxSpec()
		if err == nil {
			return c.launch(spec)
		}
		reason := "CreateContainerConfigError"
		if errors.As(err, new(imageError)) {
			reason = "ErrImagePull"
		}
		if told != err.Error() {
			told = err.Error()
			c.pod.warn(reason, err)
		}
		c.setWaiting(reason, err)
		select {
		case <-changed:
		case <-life.Done():
		}
	}
	return nil, nil
}

func (c *container) launch(spec *sandbox.Spec) (*run, error) {
	r, err := c.newRun()
	if err != nil {
		return nil, err
	}
	spec.Dir = filepath.Join(r.dir, "root")
	spec.Mounts = append(spec.Mounts, sandbox.Mount{Source: r.message(), Target: terminationPath(c.spec)})
	if err := errors.Join(os.MkdirAll(spec.Dir, 0o755), os.WriteFile(r.message(), nil, 0o666)); err != nil {
		return nil, fmt.Errorf("make the container's directory: %w", err)
	}
	stdout, err := r.log.Stream("stdout")
	if err != nil {
		return nil, err
	}
	stderr, err := r.log.Stream("stderr")
	if err != nil {
		return nil, errors.Join(err, stdout.Close())
	}
	r.began = metav1.Now()
	r.process, err = c.pod.host.Start(c.pod.network, *spec, sandbox.Output{Stdout: stdout, Stderr: stderr})
	closed := errors.Join(stdout.Close(), stderr.Close())
	if err != nil {
		return nil, errors.Join(err, r.log.Wait())
	}
	return r, closed
}

// newRun makes the directory and the log of the container's next run. Logs outlive the pod's other files until the
// object is deleted.
func (c *container) newRun() (*run, error) {
	r := &run{dir: filepath.Join(c.pod.dir, "containers", fmt.Sprintf("%s-%d", c.spec.Name, c.runs))}
	r.id = fmt.Sprintf("gatehouse://%s/%s/%d", c.pod.current().UID, c.spec.Name, c.runs)
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the container's directory: %w", err)
	}
	dir := c.pod.logDir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the log's directory: %w", err)
	}
	var err error
	if r.log, err = logs.Create(filepath.Join(dir, fmt.Sprintf("%s.%d.log", c.spec.Name, c.runs%2))); err != nil {
		return nil, err
	}
	c.runs++
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	c.logs = [2]*logs.File{r.log, c.logs[0]}
	return r, nil
}

// message is the file by which a container may say why it ended.
func (r *run) message() string { return filepath.Join(r.dir, "termination-log") }

func terminationPath(c *corev1.Container) string {
	if c.TerminationMessagePath != "" {
		return c.TerminationMessagePath
	}
	return corev1.TerminationMessagePathDefault
}

// ended records how a run ended.
func (c *container) ended(r *run) {
	if err := r.log.Wait(); err != nil {
		c.pod.Log.Warn("Closing a container's log failed", "pod", c.pod.name(), "container", c.spec.Name, "error", err)
	}
	exit := r.process.Exit()
	state := &corev1.ContainerStateTerminated{
		ExitCode: int32(exit), Reason: "Completed", StartedAt: r.began, FinishedAt: metav1.Now(), ContainerID: r.id,
	}
	if exit != 0 {
		state.Reason = "Error"
	}
	state.Message = c.lastWords(r)
	c.change(func(s *corev1.ContainerStatus) {
		no := false
		c.process = nil
		s.Started, s.Ready = &no, false
		s.State = corev1.ContainerState{Terminated: state}
	})
	if err := os.RemoveAll(r.dir); err != nil {
		c.pod.Log.Warn("Removing a container's directory failed", "pod", c.pod.name(), "container", c.spec.Name, "error", err)
	}
}

// lastWords returns what the container has left as its reason to end: what it wrote for that, or, if its spec says so
// and it failed, the end of its log.
func (c *container) lastWords(r *run) string {
	const most, mostOfLog, lines = 4096, 2048, 80 // as a kubelet has them
	if message, err := os.ReadFile(r.message()); err == nil && len(message) > 0 {
		return string(message[:min(len(message), most)])
	}
	if c.spec.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError || r.process.Exit() == 0 {
		return ""
	}
	var end strings.Builder
	if err := r.log.Read(context.Background(), &end, logs.Options{Tail: lines}); err != nil {
		return ""
	}
	return end.String()[max(0, end.Len()-mostOfLog):]
}

func (c *container) setWaiting(reason string, why error) {
	c.change(func(s *corev1.ContainerStatus) {
		if s.State.Terminated != nil {
			s.LastTerminationState = s.State
		}
		s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: why.Error()}}
	})
}

func (c *container) change(do func(*corev1.ContainerStatus)) {
	c.pod.change(func(*facts) { do(c.status) })
}
