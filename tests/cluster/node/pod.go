package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatehouse/tests/cluster/node/sandbox"
	"gatehouse/tests/cluster/node/volume"
)

// pod is a pod that the node runs, from its binding to the deletion of its object.
type pod struct {
	*agent
	id, namespace string
	dir           string
	volumes       *volume.Set
	network       *sandbox.Network // set before the first container starts

	// life ends when the pod is to stop: main containers first, then sidecars.
	life context.Context
	stop context.CancelFunc
	// killed ends when the time for stopping in order is over.
	killed context.Context
	kill   context.CancelFunc
	// gone ends when nobody wants to hear of the pod any more: its object is gone, or the node stops.
	gone  context.Context
	forgo context.CancelFunc
	// hooks says whether preStop hooks are run.
	hooks atomic.Bool
	done  chan struct{}

	reports *reporter
	init    []*container
	main    []*container

	mu      sync.Mutex
	object  *corev1.Pod
	facts   facts
	changed chan struct{} // closed and replaced whenever something that the pod may wait for has changed
	grace   *time.Timer   // runs once the pod is to stop, until graceEnd

	graceEnd time.Time
}

func newPod(a *agent, object *corev1.Pod) *pod {
	dir := filepath.Join(a.Dir, "pods", string(object.UID))
	p := &pod{
		agent: a, id: string(object.UID), namespace: object.Namespace, dir: dir,
		volumes: volume.NewSet(filepath.Join(dir, "volumes")),
		object:  object, changed: make(chan struct{}), done: make(chan struct{}),
	}
	p.life, p.stop = context.WithCancel(context.Background())
	p.killed, p.kill = context.WithCancel(context.Background())
	p.gone, p.forgo = context.WithCancel(context.Background())
	p.hooks.Store(true)
	p.facts = facts{hosts: a.gateways(), started: metav1.Now()}
	reason := "ContainerCreating"
	if len(object.Spec.InitContainers) > 0 {
		reason = "PodInitializing"
	}
	p.facts.init, p.init = p.newContainers(object.Spec.InitContainers, reason)
	p.facts.main, p.main = p.newContainers(object.Spec.Containers, reason)
	p.reports = newReporter(p)
	return p
}

func (p *pod) newContainers(specs []corev1.Container, reason string) ([]corev1.ContainerStatus, []*container) {
	statuses := make([]corev1.ContainerStatus, len(specs))
	containers := make([]*container, len(specs))
	for i := range specs {
		no := false
		statuses[i] = corev1.ContainerStatus{
			Name: specs[i].Name, Image: specs[i].Image, Started: &no,
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}},
		}
		containers[i] = &container{pod: p, spec: &specs[i], status: &statuses[i], up: make(chan struct{})}
	}
	return statuses, containers
}

// run is the life of the pod. It returns when the object is gone or no longer needs the node.
func (p *pod) run() {
	defer close(p.done)
	if p.prepare() {
		refreshed := make(chan struct{})
		go func() {
			defer close(refreshed)
			p.refreshVolumes()
		}()
		p.runContainers()
		p.stop() // A pod that has completed on its own ends in the same way as one that is deleted.
		<-refreshed
	}
	p.kill()
	if err := p.clean(); err != nil {
		p.Log.Error("Cleaning up after a pod failed", "pod", p.name(), "error", err)
	}
	p.change(func(f *facts) { f.over = true })
	p.reports.close()
	p.awaitDeletion()
	p.forgo()
}

// prepare makes the volumes and the network. It waits for what is missing, and returns false if the pod is to stop.
func (p *pod) prepare() bool {
	for told := ""; p.life.Err() == nil; {
		changed := p.changes()
		err := p.volumes.Update(p.current(), p.sources)
		if err == nil {
			err = p.connect()
		}
		if err == nil {
			return true
		}
		if told != err.Error() {
			told = err.Error()
			p.warn("FailedMount", err)
		}
		p.change(func(f *facts) {
			for i := range f.main {
				if w := f.main[i].State.Waiting; w != nil {
					f.main[i].State.Waiting = &corev1.ContainerStateWaiting{Reason: w.Reason, Message: err.Error()}
				}
			}
		})
		p.wait(changed, 5*time.Second)
	}
	return false
}

// wait returns when the channel is closed, the time is over or the pod is to stop.
func (p *pod) wait(changed <-chan struct{}, most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C: // Calls of the API server may have failed, which no event ends.
	case <-p.life.Done():
	}
}

func (p *pod) connect() error {
	if p.current().Spec.HostNetwork {
		p.network = p.host.Network()
		p.change(func(f *facts) { f.addrs = p.network.Addrs })
		return nil
	}
	addrs, err := p.addresses.take()
	if err != nil {
		return err
	}
	network, err := p.host.NewNetwork(addrs...)
	if err != nil {
		p.addresses.release(addrs)
		return err
	}
	p.network = network
	p.change(func(f *facts) { f.addrs = addrs })
	return nil
}

// runContainers runs init containers in order, then the main ones, and returns when all have ended for good. Sidecars
// outlive the main containers and end in the reverse of their order.
func (p *pod) runContainers() {
	var sidecars []func()
	ok := true
	for _, c := range p.init {
		if p.life.Err() != nil || !ok {
			break
		}
		if !restartsAlways(c.spec) {
			ok = c.supervise(p.life)
			continue
		}
		life, stop := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.supervise(life)
		}()
		sidecars = append(sidecars, func() {
			stop()
			<-ended
		})
		select {
		case <-c.up:
		case <-p.life.Done():
		}
	}
	if ok && p.life.Err() == nil {
		var running sync.WaitGroup
		for _, c := range p.main {
			running.Go(func() { c.supervise(p.life) })
		}
		running.Wait()
	}
	p.startGrace(p.gracePeriod())
	for _, end := range slices.Backward(sidecars) {
		end()
	}
}

// refreshVolumes brings the volumes up to date whenever something has changed, and tokens in time, until the pod stops.
func (p *pod) refreshVolumes() {
	for told := ""; p.life.Err() == nil; {
		changed := p.changes()
		problem := ""
		if err := p.volumes.Update(p.current(), p.sources); err != nil {
			if problem = err.Error(); problem != told {
				p.warn("FailedMount", err)
			}
		}
		told = problem
		p.wait(changed, time.Minute)
	}
}

func (p *pod) clean() error {
	var err error
	if p.network != nil && p.network.Addr() != p.gateway() {
		err = p.network.Close()
		p.addresses.release(p.network.Addrs)
	}
	p.sources.forget(p.current().UID)
	return errors.Join(err, os.RemoveAll(p.dir))
}

// awaitDeletion returns when the object is gone. A pod that has stopped and is marked for deletion is deleted.
func (p *pod) awaitDeletion() {
	for p.gone.Err() == nil {
		changed := p.changes()
		var retry <-chan time.Time
		if object := p.current(); object.DeletionTimestamp != nil {
			err := p.deleteObject(object)
			if err == nil {
				return
			}
			p.Log.Warn("Deleting a pod failed and is tried again", "pod", p.name(), "error", err)
			retry = time.After(time.Second)
		}
		select {
		case <-changed:
		case <-retry:
		case <-p.gone.Done():
		}
	}
}

// set takes a newer version of the object.
func (p *pod) set(object *corev1.Pod) {
	p.mu.Lock()
	p.object = object
	p.mu.Unlock()
	if object.DeletionTimestamp != nil {
		p.startGrace(p.gracePeriod())
		p.stop()
	}
	p.reports.wake()
	p.poke()
}

// vanish ends the pod at once, because its object is gone.
func (p *pod) vanish() {
	p.forgo()
	p.hooks.Store(false)
	p.kill()
	p.stop()
}

// shutDown ends the pod because the node stops.
func (p *pod) shutDown(grace time.Duration) {
	p.forgo()
	p.hooks.Store(false)
	p.startGrace(grace)
	p.stop()
}

// startGrace starts the time after which whatever still runs is killed, or shortens it.
func (p *pod) startGrace(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	end := time.Now().Add(d)
	switch {
	case p.grace == nil:
		p.grace = time.AfterFunc(d, p.kill)
	case end.Before(p.graceEnd):
		p.grace.Reset(d)
	default:
		return
	}
	p.graceEnd = end
}

func (p *pod) gracePeriod() time.Duration {
	object := p.current()
	seconds := int64(30)
	if s := object.Spec.TerminationGracePeriodSeconds; s != nil {
		seconds = *s
	}
	if s := object.DeletionGracePeriodSeconds; s != nil {
		seconds = *s
	}
	return time.Duration(seconds) * time.Second
}

func (p *pod) current() *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.object
}

// withStatus returns the object with the addresses that the API server may not know yet.
func (p *pod) withStatus() *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	object := *p.object
	p.facts.setAddresses(&object.Status)
	return &object
}

// change changes the facts and has the status written.
func (p *pod) change(do func(*facts)) {
	p.mu.Lock()
	do(&p.facts)
	p.mu.Unlock()
	p.reports.wake()
}

// changes returns a channel that is closed when something that the pod refers to has changed, or the object itself.
func (p *pod) changes() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

func (p *pod) poke() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pod) name() string {
	object := p.current()
	return object.Namespace + "/" + object.Name
}

// warn tells the user by an event, and the node's log.
func (p *pod) warn(reason string, err error) {
	p.Log.Debug("A pod has a problem", "pod", p.name(), "reason", reason, "error", err)
	p.events.Event(p.current(), corev1.EventTypeWarning, reason, fmt.Sprint(err))
}
