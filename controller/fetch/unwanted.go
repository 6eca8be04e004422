package fetch

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// clean deletes content that has not been needed for some time.
func (f *Fetcher) clean(ctx context.Context, key string, have *stored) time.Duration {
	f.retries.Forget(key)
	if left := f.graceLeft(key, have != nil); have == nil || left > 0 {
		return left
	}
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: f.Namespace, Name: namePrefix + key}}
	if err := f.Client.Delete(ctx, c); client.IgnoreNotFound(err) != nil && ctx.Err() == nil {
		f.Log.Error(err, "could not delete fetched content that nothing needs any more; trying again", "name", c.Name)
		return f.lastRetry
	}
	return 0
}

// graceLeft is how long content that is not needed is still kept.
func (f *Fetcher) graceLeft(key string, exists bool) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !exists {
		delete(f.unwanted, key)
		return 0
	}
	if _, ok := f.unwanted[key]; !ok {
		f.unwanted[key] = time.Now()
	}
	return max(f.grace-time.Since(f.unwanted[key]), 0)
}
