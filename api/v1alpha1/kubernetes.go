package v1alpha1

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// EnvoyProxyKubernetesProvider holds the settings of the Kubernetes objects that run Envoy. Each Gateway has a
// Deployment (or a DaemonSet), a Service and a ServiceAccount.
//
// +kubebuilder:validation:XValidation:rule="!has(self.envoyDeployment) || !has(self.envoyDaemonSet)",fieldPath=".envoyDaemonSet",message="envoyDeployment and envoyDaemonSet exclude each other: keep the one that is to run Envoy"
type EnvoyProxyKubernetesProvider struct {
	// EnvoyDeployment runs Envoy as a Deployment, which is the default.
	//
	// +optional
	EnvoyDeployment *KubernetesDeploymentSpec `json:"envoyDeployment,omitempty"`

	// EnvoyDaemonSet runs Envoy on every node instead.
	//
	// +optional
	EnvoyDaemonSet *KubernetesDaemonSetSpec `json:"envoyDaemonSet,omitempty"`

	// EnvoyService is the Service that clients connect to.
	//
	// +optional
	EnvoyService *KubernetesServiceSpec `json:"envoyService,omitempty"`

	// EnvoyServiceAccount is the ServiceAccount of the pods.
	//
	// +optional
	EnvoyServiceAccount *KubernetesServiceAccountSpec `json:"envoyServiceAccount,omitempty"`

	// UseListenerPortAsContainerPort makes Envoy listen on the ports of the Gateway's listeners. Without it a port
	// below 1024 is raised by 10000 in the pod, so that Envoy needs no privilege; the Service has the listener's port
	// either way. Default: false.
	//
	// +optional
	UseListenerPortAsContainerPort *bool `json:"useListenerPortAsContainerPort,omitempty"`
}

// KubernetesDeploymentSpec holds the settings of the Deployment that runs Envoy.
type KubernetesDeploymentSpec struct {
	// Name of the Deployment. Default: built from the Gateway's namespace and name.
	//
	// +optional
	Name *string `json:"name,omitempty"`

	// Replicas is the number of Envoys. Default: 1 at first, and then what an autoscaler or kubectl scale sets.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Replicas *int32 `json:"replicas,omitempty"`

	// Strategy is how a change of the pods is rolled out. Default: RollingUpdate.
	//
	// +optional
	Strategy *appsv1.DeploymentStrategy `json:"strategy,omitempty"`

	// Pod holds the settings of the pods.
	//
	// +optional
	Pod *KubernetesPodSpec `json:"pod,omitempty"`

	// Container holds the settings of the container that runs Envoy.
	//
	// +optional
	Container *KubernetesContainerSpec `json:"container,omitempty"`

	// InitContainers run to their end before Envoy starts.
	//
	// +optional
	InitContainers []corev1.Container `json:"initContainers,omitempty"`

	// Patch changes the finished Deployment.
	//
	// +optional
	Patch *KubernetesPatchSpec `json:"patch,omitempty"`
}

// KubernetesDaemonSetSpec holds the settings of the DaemonSet that runs Envoy.
type KubernetesDaemonSetSpec struct {
	// Name of the DaemonSet. Default: built from the Gateway's namespace and name.
	//
	// +optional
	Name *string `json:"name,omitempty"`

	// Strategy is how a change of the pods is rolled out. Default: RollingUpdate.
	//
	// +optional
	Strategy *appsv1.DaemonSetUpdateStrategy `json:"strategy,omitempty"`

	// Pod holds the settings of the pods.
	//
	// +optional
	Pod *KubernetesPodSpec `json:"pod,omitempty"`

	// Container holds the settings of the container that runs Envoy.
	//
	// +optional
	Container *KubernetesContainerSpec `json:"container,omitempty"`

	// Patch changes the finished DaemonSet.
	//
	// +optional
	Patch *KubernetesPatchSpec `json:"patch,omitempty"`
}

// KubernetesPodSpec holds the settings of the pods that run Envoy. Its fields have the same meaning as in a pod.
type KubernetesPodSpec struct {
	// Annotations are added to the pods.
	//
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// Labels are added to the pods. The labels that select the pods cannot be changed.
	//
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// SecurityContext of the pods.
	//
	// +optional
	SecurityContext *corev1.PodSecurityContext `json:"securityContext,omitempty"`

	// Affinity of the pods.
	//
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`

	// Tolerations of the pods.
	//
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// Volumes are added to the pods.
	//
	// +optional
	Volumes []corev1.Volume `json:"volumes,omitempty"`

	// ImagePullSecrets name the Secrets that images are pulled with.
	//
	// +optional
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// NodeSelector of the pods.
	//
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// TopologySpreadConstraints of the pods.
	//
	// +optional
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`

	// PriorityClassName of the pods.
	//
	// +optional
	PriorityClassName *string `json:"priorityClassName,omitempty"`
}

// KubernetesContainerSpec holds the settings of the container that runs Envoy.
//
// +kubebuilder:validation:XValidation:rule="!has(self.image) || !has(self.imageRepository)",fieldPath=".imageRepository",message="image and imageRepository exclude each other: image is the whole reference, imageRepository keeps the built-in tag"
type KubernetesContainerSpec struct {
	// Env is added to the environment of Envoy.
	//
	// +optional
	Env []corev1.EnvVar `json:"env,omitempty"`

	// Resources of the container. Default: requests of 100m CPU and 512Mi memory, and no limits.
	//
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`

	// SecurityContext of the container.
	//
	// +optional
	SecurityContext *corev1.SecurityContext `json:"securityContext,omitempty"`

	// Image is the Envoy image, with a tag, a digest or both.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9._-]+(:[0-9]+/[a-zA-Z0-9._-]+)?(/[a-zA-Z0-9._-]+)*(:[a-zA-Z0-9_][a-zA-Z0-9._-]*)?(@sha256:[a-f0-9]{64})?$')",messageExpression=`'"' + self + '" is not an image: write repository:tag or repository@sha256:digest'`,message="write repository:tag or repository@sha256:digest"
	// +kubebuilder:validation:MaxLength=1024
	Image *string `json:"image,omitempty"`

	// ImageRepository is the Envoy image without tag and digest; the tag of the built-in image is kept.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9._-]+(:[0-9]+/[a-zA-Z0-9._-]+)?(/[a-zA-Z0-9._-]+)*$')",messageExpression=`'"' + self + '" is not an image repository: write it without tag and digest, such as docker.io/envoyproxy/envoy'`,message="write the repository without tag and digest"
	// +kubebuilder:validation:MaxLength=1024
	ImageRepository *string `json:"imageRepository,omitempty"`

	// VolumeMounts are added to the container.
	//
	// +optional
	VolumeMounts []corev1.VolumeMount `json:"volumeMounts,omitempty"`
}

// KubernetesServiceSpec holds the settings of the Service that clients connect to.
//
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancerIP) || self.type == 'LoadBalancer'",fieldPath=".loadBalancerIP",messageExpression=`'loadBalancerIP works only with type LoadBalancer, not with ' + self.type + ': remove it or change the type'`,message="loadBalancerIP works only with type LoadBalancer"
type KubernetesServiceSpec struct {
	// Name of the Service. Default: built from the Gateway's namespace and name.
	//
	// +optional
	Name *string `json:"name,omitempty"`

	// Annotations are added to the Service. They win over those of the Gateway's infrastructure.
	//
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// Labels are added to the Service.
	//
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// Type of the Service.
	//
	// +optional
	// +kubebuilder:default=LoadBalancer
	Type *ServiceType `json:"type,omitempty"`

	// LoadBalancerClass is the class of the load balancer that serves the Service.
	//
	// +optional
	LoadBalancerClass *string `json:"loadBalancerClass,omitempty"`

	// AllocateLoadBalancerNodePorts says whether a LoadBalancer Service has node ports too. Default: the default of
	// Kubernetes.
	//
	// +optional
	AllocateLoadBalancerNodePorts *bool `json:"allocateLoadBalancerNodePorts,omitempty"`

	// LoadBalancerSourceRanges are the client ranges that the load balancer allows, such as 10.0.0.0/8. Only with type
	// LoadBalancer.
	//
	// +optional
	LoadBalancerSourceRanges []string `json:"loadBalancerSourceRanges,omitempty"`

	// LoadBalancerIP is the requested IPv4 address of the load balancer. Only with type LoadBalancer.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 4",messageExpression=`'"' + self + '" is not an IPv4 address: write one such as 192.0.2.1'`,message="write an IPv4 address such as 192.0.2.1"
	// +kubebuilder:validation:MaxLength=64
	LoadBalancerIP *string `json:"loadBalancerIP,omitempty"`

	// ExternalTrafficPolicy is Local (only Envoys on the node that a connection reaches; the client's address is
	// kept) or Cluster (any Envoy).
	//
	// +optional
	// +kubebuilder:default=Local
	ExternalTrafficPolicy *ServiceExternalTrafficPolicy `json:"externalTrafficPolicy,omitempty"`

	// Patch changes the finished Service.
	//
	// +optional
	Patch *KubernetesPatchSpec `json:"patch,omitempty"`
}

// ServiceType is a type of Service that can serve a Gateway.
//
// +kubebuilder:validation:Enum=ClusterIP;LoadBalancer;NodePort
type ServiceType string

// The types of Service that can serve a Gateway.
const (
	ServiceTypeClusterIP    ServiceType = "ClusterIP"
	ServiceTypeLoadBalancer ServiceType = "LoadBalancer"
	ServiceTypeNodePort     ServiceType = "NodePort"
)

// ServiceExternalTrafficPolicy says which Envoys get connections from outside the cluster.
//
// +kubebuilder:validation:Enum=Local;Cluster
type ServiceExternalTrafficPolicy string

// Which Envoys get connections from outside the cluster.
const (
	ServiceExternalTrafficPolicyLocal   ServiceExternalTrafficPolicy = "Local"
	ServiceExternalTrafficPolicyCluster ServiceExternalTrafficPolicy = "Cluster"
)

// KubernetesServiceAccountSpec holds the settings of the ServiceAccount of the Envoy pods.
type KubernetesServiceAccountSpec struct {
	// Name of the ServiceAccount. Default: built from the Gateway's namespace and name.
	//
	// +optional
	Name *string `json:"name,omitempty"`
}

// KubernetesPatchSpec changes a finished Kubernetes object.
type KubernetesPatchSpec struct {
	// Type is how value is merged: StrategicMerge, as kubectl patch does it, or JSONMerge (RFC 7386). Default:
	// StrategicMerge.
	//
	// +optional
	Type *MergeType `json:"type,omitempty"`

	// Value is the part of the object that changes.
	//
	// +required
	// +kubebuilder:validation:Type=object
	// +kubebuilder:validation:MinProperties=1
	Value apiextensionsv1.JSON `json:"value"`
}

// MergeType is how a patch is merged into an object.
//
// +kubebuilder:validation:Enum=StrategicMerge;JSONMerge
type MergeType string

// How a patch is merged into an object.
const (
	StrategicMerge MergeType = "StrategicMerge"
	JSONMerge      MergeType = "JSONMerge"
)
