{{/* The namespace of every object of the chart. */}}
{{- define "gatehouse.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{/* The labels that select the pods of the control plane; they never change. */}}
{{- define "gatehouse.selector" -}}
app.kubernetes.io/name: gatehouse
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The labels of every object. */}}
{{- define "gatehouse.labels" -}}
{{ include "gatehouse.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* An image with the registry of the chart before it: (list image $) */}}
{{- define "gatehouse.image" -}}
{{- $image := index . 0 -}}
{{- with (index . 1).Values.global.imageRegistry }}{{ trimSuffix "/" . }}/{{ end }}{{ $image }}
{{- end }}

{{/* The pull secrets of the control plane. */}}
{{- define "gatehouse.pullSecrets" -}}
{{- with (concat .Values.global.imagePullSecrets .Values.global.images.gatehouse.pullSecrets) }}
imagePullSecrets:
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The user that the control plane is to the API server. */}}
{{- define "gatehouse.user" -}}
system:serviceaccount:{{ include "gatehouse.namespace" . }}:gatehouse
{{- end }}

{{/* Lets cainjector write the CA, if it is to do so. The Secret is that of the control plane, which has all CAs of a change. */}}
{{- define "gatehouse.injection" }}
{{- if and .Values.certManager.enabled (eq .Values.certManager.caInjection "cainjector") }}
  annotations:
    cert-manager.io/inject-ca-from-secret: {{ include "gatehouse.namespace" . }}/gatehouse
{{- end }}
{{- end }}

{{/* Where a webhook is called: (list namespace path) */}}
{{- define "gatehouse.client" }}
    clientConfig:
      service:
        name: gatehouse
        namespace: {{ index . 0 }}
        path: {{ index . 1 }}
        port: 9443
{{- end }}

{{/* How a webhook is called. */}}
{{- define "gatehouse.call" }}
    matchPolicy: Equivalent
    # Events report what an annotation overrules.
    sideEffects: NoneOnDryRun
    timeoutSeconds: {{ .Values.admission.timeoutSeconds }}
    admissionReviewVersions: [v1]
{{- end }}

{{/* The kinds that are always judged, which rules of the platform can be about. */}}
{{- define "gatehouse.kinds" }}
      - apiGroups: [gateway.networking.k8s.io]
        apiVersions: [v1]
        resources: [gatewayclasses, gateways, listenersets, httproutes, grpcroutes, tlsroutes, tcproutes, udproutes, backendtlspolicies]
        operations: [{{ join ", " . }}]
        scope: "*"
      - apiGroups: [gateway.networking.x-k8s.io]
        apiVersions: [v1alpha1]
        resources: [xbackendtrafficpolicies]
        operations: [{{ join ", " . }}]
        scope: "*"
      - apiGroups: [gateway.envoyproxy.io]
        apiVersions: [v1alpha1]
        resources: [envoyproxies, backends, httproutefilters, backendtrafficpolicies, securitypolicies, clienttrafficpolicies, envoyextensionpolicies, envoypatchpolicies]
        operations: [{{ join ", " . }}]
        scope: "*"
{{- end }}

{{/* Keeps what the control plane itself writes from being judged, and what is being deleted: if nobody could judge, its finalizers would stay. */}}
{{- define "gatehouse.judged" }}
      - name: not-being-deleted
        expression: "request.operation == 'DELETE' || !has(object.metadata.deletionTimestamp)"
      - name: not-the-control-plane
        expression: request.userInfo.username != {{ include "gatehouse.user" . | squote }}
{{- end }}

{{/* Keeps deletions by the controllers of Kubernetes from being looked at: they delete what is in a deleted namespace, and nobody reads their warnings. */}}
{{- define "gatehouse.deleted" }}
      - name: not-deleted-by-kubernetes
        expression: >-
          request.operation != 'DELETE' || !request.userInfo.username.startsWith('system:serviceaccount:kube-system:') &&
          !(request.userInfo.username in ['system:kube-controller-manager', 'system:apiserver'])
{{- end }}

{{/* The metadata of an object of the certgen hook: (list $ weight) */}}
{{- define "gatehouse.certgen.metadata" }}
metadata:
  name: gatehouse-certgen
  namespace: {{ include "gatehouse.namespace" (index . 0) }}
  labels: {{- include "gatehouse.labels" (index . 0) | nindent 4 }}
  annotations:
    helm.sh/hook: pre-install, pre-upgrade
    helm.sh/hook-delete-policy: before-hook-creation, hook-succeeded
    helm.sh/hook-weight: {{ index . 1 | quote }}
{{- end }}

{{/* Whether a webhook tells Envoys their zone: "true" or nothing. */}}
{{- define "gatehouse.zones" }}
{{- $disabled := dig "provider" "kubernetes" "proxyTopologyInjector" "disabled" false .Values.config.envoyGateway }}
{{- if and .Values.admission.enabled .Values.topologyInjector.enabled (not $disabled) }}true{{ end }}
{{- end }}
