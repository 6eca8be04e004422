// Package event makes the Events by which users learn about their objects.
package event

import (
	"crypto/sha256"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxMessage is the API's limit for a message, in bytes here.
const maxMessage = 1024

// Warning is an Event about an object, which begins now. Its name follows from the name of the object and from the cause: an
// Event with the same cause exists already. A message that is too long is cut.
func Warning(about corev1.ObjectReference, reason, message, cause string) *corev1.Event {
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "")
	}
	namespace := about.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault // Kubernetes keeps the Events about objects of the whole cluster there.
	}
	hash := sha256.Sum256([]byte(cause))
	name := strings.TrimRight(about.Name[:min(len(about.Name), 200)], ".-")
	now := metav1.Now()
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s.%x", name, hash[:8])},
		InvolvedObject: about, Type: corev1.EventTypeWarning, Reason: reason, Message: message,
		Source: corev1.EventSource{Component: "gatehouse"}, ReportingController: "gatehouse.dev/gatehouse",
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
}
