package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Leadership runs what one replica alone does. A replica that loses the lease stops that and goes on serving: while the API server is away there
// is nothing to write, and every replica loses its lease. It leads again once it has the lease.
type Leadership struct {
	// Lock is the lease; nil means that this replica leads without asking.
	Lock resourcelock.Interface
	// Lease is how long it holds, Renew how long the leader tries to renew it, Retry how long it and the others wait between two attempts.
	Lease, Renew, Retry time.Duration
	// Tasks are run while this replica leads, each until its context ends. They may be run several times, one run after the other.
	Tasks []func(context.Context) error
	Log   logr.Logger
}

// NeedLeaderElection is false: each replica tries to lead.
func (l *Leadership) NeedLeaderElection() bool { return false }

// Start leads whenever it can until ctx ends, and then gives up the lease once all tasks have ended. It fails if a task does.
func (l *Leadership) Start(ctx context.Context) error {
	if l.Lock == nil {
		return l.lead(ctx)
	}
	for ctx.Err() == nil {
		if err := l.term(ctx); err != nil {
			return err
		}
	}
	return nil
}

// term waits for the lease and leads until it is lost or ctx ends.
func (l *Leadership) term(ctx context.Context) error {
	// Nobody else is given the lease before the tasks have ended, whatever becomes of ctx. One that could not be renewed runs out by itself: the
	// elector would give it up while the tasks still write.
	holding, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	started, ended := make(chan struct{}), make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: l.Lock, LeaseDuration: l.Lease, RenewDeadline: l.Renew, RetryPeriod: l.Retry,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) {
				close(started)
				l.Log.Info("this replica leads")
				leading, cancel := context.WithCancel(leading)
				defer cancel()
				defer context.AfterFunc(ctx, cancel)()
				ended <- l.lead(leading)
				release()
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("elect a leader: %w", err)
	}
	defer context.AfterFunc(ctx, func() {
		select {
		case <-started: // The end of the tasks releases the lease.
		default:
			release()
		}
	})()
	elector.Run(holding)
	select {
	case <-started:
	default:
		return nil // ctx has ended before this replica led.
	}
	err = <-ended
	l.Log.Info("this replica leads no more; it goes on serving")
	if ctx.Err() != nil {
		l.release(context.WithoutCancel(ctx))
	}
	return err
}

// release gives the lease up, so that another replica need not wait until it runs out.
func (l *Leadership) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, l.Renew)
	defer cancel()
	record, _, err := l.Lock.Get(ctx)
	if err == nil && record.HolderIdentity == l.Lock.Identity() {
		now := metav1.Now()
		err = l.Lock.Update(ctx, resourcelock.LeaderElectionRecord{
			LeaderTransitions: record.LeaderTransitions, LeaseDurationSeconds: 1, AcquireTime: now, RenewTime: now,
		})
	}
	if err != nil {
		l.Log.Info("the lease could not be given up; it runs out by itself", "error", err.Error())
	}
}

// lead runs the tasks until ctx ends, or one fails.
func (l *Leadership) lead(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	errs := make([]error, len(l.Tasks))
	for i, task := range l.Tasks {
		running.Go(func() {
			defer cancel() // No task ends by itself.
			errs[i] = task(ctx)
		})
	}
	running.Wait()
	return errors.Join(errs...)
}
