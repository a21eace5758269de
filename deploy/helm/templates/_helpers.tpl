{{- define "countermove.labels" -}}
app.kubernetes.io/name: countermove
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "countermove.workers" -}}
{{- $name := printf "%s-worker" .Release.Name -}}
{{- $count := int .Values.worker.replicas -}}
{{- if .Values.autoscaling.enabled }}{{- $count = int .Values.autoscaling.maxReplicas }}{{- end -}}
{{- $urls := list -}}
{{- range $i := until $count }}{{- $urls = append $urls (printf "https://%s-%d.%s:7701" $name $i $name) }}{{- end -}}
{{- join "," $urls -}}
{{- end }}

{{- define "countermove.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "countermove.probes" -}}
startupProbe:
  httpGet: {path: /live, port: metrics}
  periodSeconds: 5
  failureThreshold: 120
livenessProbe:
  httpGet: {path: /live, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /ready, port: metrics}
  periodSeconds: 5
{{- end }}
