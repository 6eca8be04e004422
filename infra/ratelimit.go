package infra

import (
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/api/config"
	"gatehouse/translator"
)

// RateLimitSettings are the settings of the rate limit service, which counts requests for all Envoys (decision 103).
type RateLimitSettings struct {
	// Namespace is that of the control plane, where the service runs.
	Namespace string
	// Image is the image of the service.
	Image string
	// PullSecrets are the secrets for pulling it.
	PullSecrets []corev1.LocalObjectReference
	// XDSHost and XDSPort are where the service asks for its limits.
	XDSHost string
	XDSPort uint32
	// Config is the operator's configuration. If it is nil, there is no service.
	Config *config.RateLimit
	// Certificates distinguish what the service has read of its certificates. It reads them when it starts, so its pods are
	// replaced when this changes.
	Certificates string
}

// The ports of the service.
const (
	RateLimitPort        = 8081
	rateLimitHealthPort  = 8080
	rateLimitMetricsPort = 19001
)

// The directories of the service's certificates, and how large the limits of all policies may be in bytes.
const (
	rateLimitCerts    = "/etc/gatehouse/certs"
	redisCerts        = "/etc/gatehouse/redis"
	rateLimitMaxBytes = 64 << 20
)

// RateLimitHost is the name by which Envoys ask the service.
func RateLimitHost(namespace, domain string) string {
	return translator.RateLimitService + "." + namespace + ".svc." + domain
}

// rateLimitLabels identify the objects of the service.
func rateLimitLabels() map[string]string {
	return map[string]string{
		"app.kubernetes.io/name": "ratelimit", "app.kubernetes.io/component": "ratelimit",
		"app.kubernetes.io/managed-by": FieldManager,
	}
}

// RateLimitObjects returns the objects of the service: ServiceAccount, Deployment and Service. Equal settings give equal
// objects.
func RateLimitObjects(s RateLimitSettings) []client.Object {
	meta := metav1.ObjectMeta{Namespace: s.Namespace, Name: translator.RateLimitService, Labels: rateLimitLabels()}
	return []client.Object{
		&corev1.ServiceAccount{
			TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
			ObjectMeta:                   meta,
			AutomountServiceAccountToken: new(bool),
		},
		&appsv1.Deployment{
			TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
			ObjectMeta: meta,
			Spec: appsv1.DeploymentSpec{ // Others scale it, such as an autoscaler.
				Selector: &metav1.LabelSelector{MatchLabels: rateLimitLabels()},
				Template: s.pods(),
			},
		},
		&corev1.Service{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
			ObjectMeta: meta,
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeClusterIP, Selector: rateLimitLabels(),
				Ports: []corev1.ServicePort{{
					Name: "grpc", Protocol: corev1.ProtocolTCP, Port: RateLimitPort, TargetPort: intstr.FromInt32(RateLimitPort),
				}},
			},
		},
	}
}

func (s RateLimitSettings) pods() corev1.PodTemplateSpec {
	security := unprivileged()
	annotations := map[string]string{"gatehouse.dev/certificates": s.Certificates}
	ports := []corev1.ContainerPort{{Name: "grpc", ContainerPort: RateLimitPort, Protocol: corev1.ProtocolTCP}}
	if s.metrics() {
		annotations["prometheus.io/scrape"] = "true"
		annotations["prometheus.io/port"] = strconv.Itoa(rateLimitMetricsPort)
		annotations["prometheus.io/path"] = "/metrics"
		ports = append(ports, corev1.ContainerPort{
			Name: "metrics", ContainerPort: rateLimitMetricsPort, Protocol: corev1.ProtocolTCP,
		})
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: rateLimitLabels(), Annotations: annotations},
		Spec: corev1.PodSpec{
			ServiceAccountName:           translator.RateLimitService,
			AutomountServiceAccountToken: new(bool),
			EnableServiceLinks:           new(bool),
			ImagePullSecrets:             s.PullSecrets,
			Volumes:                      s.volumes(),
			Containers: []corev1.Container{{
				Name: "ratelimit", Image: s.Image, Command: []string{"/bin/ratelimit"},
				Env:             RateLimitEnv(s),
				Ports:           ports,
				Resources:       requests("100m", "128Mi"),
				SecurityContext: &security,
				VolumeMounts:    s.mounts(),
				ReadinessProbe: probe("/healthcheck", rateLimitHealthPort, corev1.Probe{
					PeriodSeconds: 1, FailureThreshold: readyTries, TimeoutSeconds: 1,
				}),
			}},
		},
	}
}

func (s RateLimitSettings) metrics() bool { return !s.Config.Telemetry.Metrics.Prometheus.Disable }

// redisSecret is the Secret with the certificate for Redis, empty for none.
func (s RateLimitSettings) redisSecret() string {
	if tls := s.Config.Backend.Redis.TLS; tls != nil && tls.CertificateRef != nil {
		return string(tls.CertificateRef.Name)
	}
	return ""
}

// The files of the service's certificates: its own one with its key, the CA of Envoys, and the CA of the control plane.
const (
	certFile    = "tls.crt"
	keyFile     = "tls.key"
	clientsFile = "clients.crt"
	xdsFile     = "xds.crt"
)

func (s RateLimitSettings) volumes() []corev1.Volume {
	from := func(secret string, keys ...corev1.KeyToPath) corev1.VolumeProjection {
		return corev1.VolumeProjection{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Items: keys,
		}}
	}
	volumes := []corev1.Volume{{Name: "certs", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{
			from(translator.RateLimitService, corev1.KeyToPath{Key: corev1.TLSCertKey, Path: certFile},
				corev1.KeyToPath{Key: corev1.TLSPrivateKeyKey, Path: keyFile}),
			from(translator.RateLimitClients, corev1.KeyToPath{Key: "ca.crt", Path: clientsFile}),
			from("gatehouse", corev1.KeyToPath{Key: "ca.crt", Path: xdsFile}),
		},
	}}}}
	if secret := s.redisSecret(); secret != "" {
		volumes = append(volumes, corev1.Volume{Name: "redis", VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: secret},
		}})
	}
	return volumes
}

func (s RateLimitSettings) mounts() []corev1.VolumeMount {
	mounts := []corev1.VolumeMount{{Name: "certs", MountPath: rateLimitCerts, ReadOnly: true}}
	if s.redisSecret() != "" {
		mounts = append(mounts, corev1.VolumeMount{Name: "redis", MountPath: redisCerts, ReadOnly: true})
	}
	return mounts
}

// RateLimitEnv is the configuration of the service, which it reads from its environment. It listens when it has its
// first limits. The domain of several policies is one, so their limits are merged. It adds the CAs of its image to those
// of clients, so clients must also have a name that no such CA certifies.
func RateLimitEnv(s RateLimitSettings) []corev1.EnvVar {
	env := []corev1.EnvVar{
		{Name: "LOG_LEVEL", Value: "info"},
		{Name: "USE_STATSD", Value: "false"},
		{Name: "DEBUG_HOST", Value: "127.0.0.1"},
		{Name: "CONFIG_TYPE", Value: "GRPC_XDS_SOTW"},
		{Name: "CONFIG_GRPC_XDS_NODE_ID", Value: translator.RateLimitService},
		{Name: "CONFIG_GRPC_XDS_SERVER_URL", Value: fmt.Sprintf("%s:%d", s.XDSHost, s.XDSPort)},
		{Name: "CONFIG_GRPC_XDS_SERVER_USE_TLS", Value: "true"},
		{Name: "CONFIG_GRPC_XDS_CLIENT_TLS_CERT", Value: rateLimitCerts + "/" + certFile},
		{Name: "CONFIG_GRPC_XDS_CLIENT_TLS_KEY", Value: rateLimitCerts + "/" + keyFile},
		{Name: "CONFIG_GRPC_XDS_SERVER_TLS_CACERT", Value: rateLimitCerts + "/" + xdsFile},
		{Name: "XDS_CLIENT_BACKOFF_INITIAL_INTERVAL", Value: "1s"},
		{Name: "XDS_CLIENT_BACKOFF_MAX_INTERVAL", Value: "10s"},
		{Name: "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES", Value: strconv.Itoa(rateLimitMaxBytes)},
		{Name: "MERGE_DOMAIN_CONFIG", Value: "true"},
		{Name: "GRPC_SERVER_USE_TLS", Value: "true"},
		{Name: "GRPC_SERVER_TLS_CERT", Value: rateLimitCerts + "/" + certFile},
		{Name: "GRPC_SERVER_TLS_KEY", Value: rateLimitCerts + "/" + keyFile},
		{Name: "GRPC_CLIENT_TLS_CACERT", Value: rateLimitCerts + "/" + clientsFile},
		{Name: "GRPC_CLIENT_TLS_SAN", Value: translator.RateLimitClients + "." + s.Namespace + ".svc"},
		{Name: "GRPC_MAX_CONNECTION_AGE", Value: "10m"},
		{Name: "GRPC_MAX_CONNECTION_AGE_GRACE", Value: "10s"},
		{Name: "REDIS_SOCKET_TYPE", Value: "tcp"},
		{Name: "REDIS_TIMEOUT", Value: "1s"},
		s.redisURL(),
	}
	if s.Config.Backend.Redis.TLS != nil {
		env = append(env, corev1.EnvVar{Name: "REDIS_TLS", Value: "true"})
	}
	if s.redisSecret() != "" {
		env = append(env, corev1.EnvVar{Name: "REDIS_TLS_CLIENT_CERT", Value: redisCerts + "/" + certFile},
			corev1.EnvVar{Name: "REDIS_TLS_CLIENT_KEY", Value: redisCerts + "/" + keyFile})
	}
	if s.metrics() {
		env = append(env, corev1.EnvVar{Name: "USE_PROMETHEUS", Value: "true"},
			corev1.EnvVar{Name: "PROMETHEUS_ADDR", Value: fmt.Sprintf(":%d", rateLimitMetricsPort)})
	}
	return env
}

func (s RateLimitSettings) redisURL() corev1.EnvVar {
	redis := s.Config.Backend.Redis
	if redis.URLRef == nil {
		return corev1.EnvVar{Name: "REDIS_URL", Value: redis.URL}
	}
	return corev1.EnvVar{Name: "REDIS_URL", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: redis.URLRef.SecretKeyRef}}
}
