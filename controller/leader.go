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

// Leadership runs the tasks that only one replica does. A replica that loses the lease stops them and continues to
// serve. While the API server is unavailable there is nothing to write, and every replica loses its lease. The replica
// leads again when it gets the lease.
type Leadership struct {
	// Lock is the lease; nil means that this replica leads without a lease.
	Lock resourcelock.Interface
	// Lease is how long the lease is valid, Renew how long the leader tries to renew it, Retry the wait between two
	// attempts of any replica.
	Lease, Renew, Retry time.Duration
	// Tasks run while this replica leads, each until its context ends. They may run several times, one run after the
	// other.
	Tasks []func(context.Context) error
	Log   logr.Logger
}

// NeedLeaderElection returns false: each replica tries to lead.
func (l *Leadership) NeedLeaderElection() bool { return false }

// Start leads whenever it can until ctx ends, and then releases the lease when all tasks have ended. It returns the
// error of a failed task.
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
	// Nobody else gets the lease before the tasks have ended, even if ctx ends. A lease that could not be renewed
	// expires by itself: the elector would release it while the tasks still write.
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

// release releases the lease, so that another replica need not wait until it expires.
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
